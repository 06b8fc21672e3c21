"""One request in a session: what the model is asked, and what is stored of it, and when.

Stored is, in this order, what the request added, the calls that the host made with their results, and the answer; of
several choices the first. All of it is durable before the client is told the end, and nothing is stored of a request
that fails or whose client leaves before. What a model thought is not kept, and neither is what ``mcp`` brought in
(resources, prompts): the conversation is what was said in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from modelhost.chat.answer import Answer
from modelhost.chat.continuing import Message, continued
from modelhost.chat.relay import DONE_EVENT, payloads_of
from modelhost.logs import get_logger, has_debug

if TYPE_CHECKING:
    from modelhost.chat.loop import ToolLoop

log = get_logger(__name__)

KEPT: Final = ("role", "content", "tool_calls", "tool_call_id")
"""What is stored of a message that the model or a tool made."""


class HeldSession(Protocol):
    """A session that nobody else can change meanwhile."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation so far, its system message first if it has one."""

    async def append(
        self, messages: Sequence[Message], *, system: Message | None = None, model: str | None = None
    ) -> None:
        """Add ``messages``, all or none; they are durable when it returns. ``system`` takes the place of the old."""


def is_in_session(task: str, body: Any) -> bool:
    """Whether the request ``body``, which need not be checked yet, is part of a session."""
    return task == "chat" and isinstance(body, dict) and body.get("session_id") is not None


class SessionTurn:
    """One request, as long as its session is held."""

    def __init__(self, held: HeldSession, body: Mapping[str, Any], *, model: str) -> None:
        """Take a checked request for the model called ``model``.

        Raises:
            InvalidRequest: it adds nothing.
        """
        self._held = held
        self._model = model
        self._continuation = continued(held.messages, body["messages"])
        self._choices = body.get("n") or 1
        if has_debug():
            log.debug(
                "session_continued",
                session=body.get("session_id"),
                model=model,
                stored=len(held.messages),
                given=len(body["messages"]),
                new=len(self._continuation.new),
                has_new_system=self._continuation.system is not None,
            )
        self._loop: ToolLoop | None = None
        self.body = {**body, "messages": list(self._continuation.conversation)}
        """What the model is asked."""

    def follow(self, loop: ToolLoop) -> None:
        """Note that ``loop`` makes the answer: its turns are part of the conversation."""
        self._loop = loop

    async def told(self, blocks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield ``blocks``, the end of the answer only when all is stored.

        Raises:
            DatabaseUnavailable: it could not be stored; nothing is.
        """
        answer, unfinished = Answer("chat.completion"), self._choices
        last: list[bytes] = []
        async for block in blocks:
            for chunk in payloads_of(block):
                answer.add(chunk)
                unfinished -= sum(1 for choice in chunk["choices"] if choice.get("finish_reason"))
            if last or unfinished <= 0 or block.endswith(DONE_EVENT):
                last.append(block)
            else:
                yield block
        await self.store(answer.whole())
        for block in last:
            yield block

    async def store(self, answer: Mapping[str, Any]) -> None:
        """Store the exchange that ``answer`` completes. Who is cancelled meanwhile waits for the end of it.

        Raises:
            DatabaseUnavailable: it could not be stored; nothing is.
        """
        if self._loop is not None:
            said: Sequence[Message] = self._loop.transcript
        else:
            said = [answer["choices"][0]["message"]]
        kept = [{key: message[key] for key in KEPT if key in message} for message in said]
        continuation = self._continuation
        writing = asyncio.ensure_future(
            self._held.append([*continuation.new, *kept], system=continuation.system, model=self._model)
        )
        try:
            await asyncio.shield(writing)
            if has_debug():
                count = len(continuation.new) + len(kept)
                log.debug("session_stored", session=self.body.get("session_id"), added=count)
        except asyncio.CancelledError:
            # The session must not be given to the next one before this is over, one way or the other.
            await asyncio.wait([writing])
            raise
