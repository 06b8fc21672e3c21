"""One turn of the model within the tool loop: what it wrote, the calls in it, and both as messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct, field

from modelhost.chat.tools.calls import CallCollector, RequestedCall
from modelhost.chat.tools.client_calls import ClientCalls
from modelhost.exchange.chunks import REASONING
from modelhost.exchange.events import FinishDetails
from modelhost.exchange.messages import Message
from modelhost.exchange.nothing import NOTHING
from modelhost.tools.outcome import ToolOutcome


class LoopTurn(Struct, eq=False):
    """What the model wrote in one turn. Calls are not made in the last turn, nor at the depth limit."""

    number: int
    may_call: bool
    client_calls: ClientCalls
    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    finish_details: FinishDetails | None = None
    repeated: str | None = None
    """The tool that was called too often; neither that call nor later ones of the turn are made."""
    collector: CallCollector = field(default_factory=CallCollector)
    made: list[RequestedCall] = field(default_factory=list)
    """The calls that the host makes; :attr:`running` has them in the same order."""
    running: list[asyncio.Task[ToolOutcome]] = field(default_factory=list)
    deferred: list[RequestedCall] = field(default_factory=list)
    """The calls that wait for an approval by another request."""
    is_held_back: bool = False
    """Whether the client gets the text only once it is known to be the answer."""
    has_begun: bool = False
    """Whether the model has written anything."""

    async def outcomes(self) -> Sequence[ToolOutcome]:
        """Return the outcomes of :attr:`made`, once all are over."""
        return await asyncio.gather(*self.running)

    def messages(self, outcomes: Sequence[ToolOutcome]) -> list[Message]:
        """Return what the model wrote, the results of the host's calls, and the client's calls."""
        of_client = self.client_calls.as_called
        is_apart = bool(of_client and outcomes)
        written = Message(
            role="assistant",
            content=self.text or None,
            tool_calls=tuple(call.in_message() for call in self.made) or of_client or None,
            # Templates include it within a loop; without it, the next prompt would not begin with this turn's tokens.
            extra={REASONING: self.reasoning} if self.reasoning else NOTHING,
        )
        results = result_messages(self.made, outcomes)
        return [written, *results, *([Message(role="assistant", tool_calls=of_client)] if is_apart else ())]


def result_messages(made: Sequence[RequestedCall], outcomes: Sequence[ToolOutcome]) -> list[Message]:
    """Return the results of calls as messages."""
    return [
        Message(role="tool", tool_call_id=call.id, content=outcome.text)
        for call, outcome in zip(made, outcomes, strict=True)
    ]
