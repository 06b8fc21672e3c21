"""An answer as a stream of typed events, the same for all engines and doors.

The stream consists of *pieces*: tuples of the events that came together, such as in one chunk of an engine. A door may
render a piece as one block.

Fields of an engine that are not modelled here are kept in :attr:`Event.extra` of the first event of their piece, at the
level where they were: nothing of an answer is lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from modelhost.exchange.nothing import NOTHING


class Envelope(Struct, frozen=True, kw_only=True):
    """The fields that all events of an answer share."""

    id: str | None = None
    created: int | None = None
    model: str | None = None
    kind: str = "chat.completion.chunk"
    """OpenAI's ``object``: that of chats, or ``text_completion``."""
    extra: Mapping[str, Any] = NOTHING
    """Such as ``system_fingerprint``."""


NO_ENVELOPE: Final = Envelope()


class Extra(Struct, frozen=True, kw_only=True):
    """The unknown fields of a piece, by their level in OpenAI's chunk."""

    chunk: Mapping[str, Any] = NOTHING
    choice: Mapping[str, Any] = NOTHING
    delta: Mapping[str, Any] = NOTHING


class Event(Struct, frozen=True, kw_only=True):
    """An event of an answer."""

    envelope: Envelope = NO_ENVELOPE
    extra: Extra | None = None


# Events of a choice.


class ChoiceEvent(Event, frozen=True, kw_only=True):
    """An event of one of the answer's choices."""

    choice: int = 0


class Begin(ChoiceEvent, frozen=True, kw_only=True):
    """The choice begins; also the only event of a piece without known fields."""

    role: str | None = "assistant"


class Text(ChoiceEvent, frozen=True, kw_only=True):
    """Text that the model has written."""

    text: str


class Logprobs(ChoiceEvent, frozen=True, kw_only=True):
    """Log probabilities of the text in the same piece, in the format of the engine."""

    logprobs: Mapping[str, Any]


class Reasoning(ChoiceEvent, frozen=True, kw_only=True):
    """Reasoning text, which is not part of the answer."""

    text: str


class Refusal(ChoiceEvent, frozen=True, kw_only=True):
    """Text of a refusal."""

    text: str


class ToolCallPiece(ChoiceEvent, frozen=True, kw_only=True):
    """A piece of a call of a function."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str | None = None
    call_extra: Mapping[str, Any] = NOTHING
    """Such as ``type``."""


class CustomCallPiece(ChoiceEvent, frozen=True, kw_only=True):
    """A piece of a call of a custom tool."""

    index: int
    id: str | None = None
    name: str | None = None
    input: str | None = None
    call_extra: Mapping[str, Any] = NOTHING
    """Such as ``type``."""


class Finish(ChoiceEvent, frozen=True, kw_only=True):
    """The choice is complete."""

    reason: str
    details: FinishDetails | None = None


class FinishDetails(Struct, frozen=True, kw_only=True):
    """Why the host ended an answer."""

    kind: str
    message: str | None = None


# Events of the whole answer.


class EvalTimes(Struct, frozen=True, kw_only=True):
    """How long the model computed."""

    prompt_seconds: float = 0.0
    answer_seconds: float = 0.0


class Usage(Event, frozen=True, kw_only=True):
    """The final usage of all choices."""

    usage: Mapping[str, Any] | None
    times: EvalTimes | None = None
    """Of an answer in several turns; that of one turn has in :attr:`extra` what its engine reports."""


class PartialUsage(Event, frozen=True, kw_only=True):
    """The usage so far of the choice in the same piece; only if the request enables it."""

    usage: Mapping[str, Any]


class PromptProgress(Event, frozen=True, kw_only=True):
    """Progress of processing the prompt, in the format of the engine."""

    progress: Mapping[str, Any]


# Events of the host.


class HostEvent(Event, frozen=True, kw_only=True):
    """An event of the host, not part of the answer itself."""


class CallStarted(HostEvent, frozen=True, kw_only=True):
    """A call of a tool begins."""

    id: str
    name: str
    arguments: Any = None
    server: str = ""
    """Empty if no server has such a tool. Not in OpenAI's chunks, as the fields below: they tell it when the call is
    over."""
    tool: str = ""
    """The tool's own name; empty if there is no such tool."""
    written: str = ""
    """The arguments as the model wrote them: with them, a later prompt begins with the same tokens."""
    turn: int = 0
    """The turn of the model that requested it, from 1; 0 for a call that a previous answer left to be approved."""


class CallProgressed(HostEvent, frozen=True, kw_only=True):
    """Progress of a call."""

    id: str
    progress: float
    total: float | None = None
    message: str | None = None


class CallLogged(HostEvent, frozen=True, kw_only=True):
    """A log line of a server during a call."""

    line: Mapping[str, Any]


class CallFinished(HostEvent, frozen=True, kw_only=True):
    """A call has finished."""

    id: str
    name: str
    server: str | None = None
    tool: str | None = None
    is_error: bool = False
    code: str | None = None
    text: str = ""
    """The result, as the model gets it."""
    seconds: float = 0.0


class CallCancelled(HostEvent, frozen=True, kw_only=True):
    """The host cancelled a call."""

    id: str
    name: str


class ListedTool(Struct, frozen=True, kw_only=True):
    """A tool of a server, as the model gets it."""

    name: str
    """Its name for the model."""
    tool: str
    """Its own name."""
    description: str | None
    schema: Mapping[str, Any]
    """Of its arguments."""
    annotations: Mapping[str, Any] = NOTHING
    """Its own hints, such as ``readOnlyHint``."""


class ToolsListed(HostEvent, frozen=True, kw_only=True):
    """The tools of one server that the model gets; only if the request asks for it."""

    server: str
    tools: tuple[ListedTool, ...] = ()
    error: str | None = None
    """Why the server's tools are missing."""


class ApprovalNeeded(HostEvent, frozen=True, kw_only=True):
    """A call that was not made, since it needs approval; the answer ends with it.

    Only if the request defers approvals. Another request may continue with the decision.
    """

    id: str
    name: str
    server: str
    tool: str
    """The tool's own name."""
    written: str
    """The arguments as the model wrote them."""
    turn: int


class Question(HostEvent, frozen=True, kw_only=True):
    """A question to the user: an approval of a call, or an elicitation of a server."""

    id: str
    kind: Literal["approval", "elicitation"]
    seconds: float = 0.0
    """The timeout for the answer."""
    about: Mapping[str, Any] = NOTHING


class Queued(HostEvent, frozen=True, kw_only=True):
    """The request waits for its model, or for requests before it."""

    position: int
    """Its position in the queue, from 1."""


class Loading(HostEvent, frozen=True, kw_only=True):
    """The model is being loaded."""

    progress: float | None = None
    """0 to 1; ``None``: its engine does not report it."""


class WaitingForTools(HostEvent, frozen=True, kw_only=True):
    """The request waits for MCP servers."""

    servers: tuple[str, ...]
    seconds: float


class ToolsMissing(HostEvent, frozen=True, kw_only=True):
    """The tools of some servers are missing."""

    servers: tuple[tuple[str, str], ...]
    """The name and the state of each."""


class Relayed(Struct, frozen=True):
    """An answer that is relayed as the engine writes it."""

    blocks: AsyncIterator[bytes]
    """Whole server-sent events of OpenAI's API, the end marker included."""


Piece = tuple[Event, ...]
Pieces = AsyncIterator[Piece]
PieceStream = AsyncGenerator[Piece, None]
