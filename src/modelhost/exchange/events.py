"""An answer as it comes: typed events, whatever engine writes it and whatever door it leaves by.

An answer is a stream of *pieces*, tuples of the events that came together (in one chunk of an engine, say). Who reads
one goes through the events of each piece; who renders one may make one block of a piece.

What an engine says beyond what is known here stands in :attr:`Event.extra` of the first event of its piece, at the
level where it stood: nothing of an answer is lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

from modelhost.exchange.nothing import NOTHING


class Envelope(Struct, frozen=True, kw_only=True):
    """What all events of an answer share."""

    id: str | None = None
    created: int | None = None
    model: str | None = None
    kind: str = "chat.completion.chunk"
    """OpenAI's ``object``: of chats, or ``text_completion``."""
    extra: Mapping[str, Any] = NOTHING
    """Such as ``system_fingerprint``."""


NO_ENVELOPE: Final = Envelope()


class Extra(Struct, frozen=True, kw_only=True):
    """What nobody here knows of a piece of an answer, by where it stood in OpenAI's chunk."""

    chunk: Mapping[str, Any] = NOTHING
    choice: Mapping[str, Any] = NOTHING
    delta: Mapping[str, Any] = NOTHING


class Event(Struct, frozen=True, kw_only=True):
    """What happens in an answer."""

    envelope: Envelope = NO_ENVELOPE
    extra: Extra | None = None


# Of a choice.


class ChoiceEvent(Event, frozen=True, kw_only=True):
    """What one of the answer's choices goes on with."""

    choice: int = 0


class Begin(ChoiceEvent, frozen=True, kw_only=True):
    """The choice begins. It is the only event of a piece in which an engine says nothing that is known."""

    role: str | None = "assistant"


class Text(ChoiceEvent, frozen=True, kw_only=True):
    """Text that the model has written."""

    text: str


class Logprobs(ChoiceEvent, frozen=True, kw_only=True):
    """Log probabilities of what stands beside it in the piece, in the shape that its engine gives them."""

    logprobs: Mapping[str, Any]


class Reasoning(ChoiceEvent, frozen=True, kw_only=True):
    """Text that the model thinks, and that is no part of its answer."""

    text: str


class Refusal(ChoiceEvent, frozen=True, kw_only=True):
    """Text in which the model refuses."""

    text: str


class ToolCallPiece(ChoiceEvent, frozen=True, kw_only=True):
    """A piece of a call that the model writes, for whoever runs it."""

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
    """Why the host has ended an answer."""

    kind: str
    message: str | None = None


# Of the whole answer.


class Usage(Event, frozen=True, kw_only=True):
    """The tokens of all choices, once the engine has counted them."""

    usage: Mapping[str, Any] | None


class PartialUsage(Event, frozen=True, kw_only=True):
    """The tokens of the choice beside which it stands, up to now; only where the request asks for it."""

    usage: Mapping[str, Any]


class PromptProgress(Event, frozen=True, kw_only=True):
    """The model reads the prompt; as the engine tells it."""

    progress: Mapping[str, Any]


# Of the calls that the host makes.


class HostEvent(Event, frozen=True, kw_only=True):
    """What the host tells besides: no part of the answer itself."""


class CallStarted(HostEvent, frozen=True, kw_only=True):
    """A call of a tool begins."""

    id: str
    name: str
    arguments: Any = None


class CallProgressed(HostEvent, frozen=True, kw_only=True):
    """How far a call is."""

    id: str
    progress: float
    total: float | None = None
    message: str | None = None


class CallLogged(HostEvent, frozen=True, kw_only=True):
    """What a server says while it works on a call."""

    line: Mapping[str, Any]


class CallFinished(HostEvent, frozen=True, kw_only=True):
    """A call is over."""

    id: str
    name: str
    server: str | None = None
    tool: str | None = None
    is_error: bool = False
    code: str | None = None
    text: str = ""
    """The result, as the model is shown it."""
    seconds: float = 0.0


class CallCancelled(HostEvent, frozen=True, kw_only=True):
    """The host has ended a call."""

    id: str
    name: str


class Question(HostEvent, frozen=True, kw_only=True):
    """Somebody has to agree to a call, or to tell a server something."""

    id: str
    kind: Literal["approval", "elicitation"]
    seconds: float = 0.0
    """How long it is waited for an answer."""
    about: Mapping[str, Any] = NOTHING


class Queued(HostEvent, frozen=True, kw_only=True):
    """The request waits for its model, or for others that are before it."""

    position: int
    """Its place among those that wait, from 1."""


class Loading(HostEvent, frozen=True, kw_only=True):
    """The model is being loaded."""

    progress: float | None = None
    """0 to 1; ``None``: its engine does not tell."""


class WaitingForTools(HostEvent, frozen=True, kw_only=True):
    """The request waits for MCP servers."""

    servers: tuple[str, ...]
    seconds: float


class ToolsMissing(HostEvent, frozen=True, kw_only=True):
    """The model did not get the tools of some servers."""

    servers: tuple[tuple[str, str], ...]
    """The name and the state of each."""


class Relayed(Struct, frozen=True):
    """An answer that an engine writes as its client reads it: it goes through as it is."""

    blocks: AsyncIterator[bytes]
    """Whole server-sent events of OpenAI's API, the end marker included."""


Piece = tuple[Event, ...]
Pieces = AsyncIterator[Piece]
PieceStream = AsyncGenerator[Piece, None]
