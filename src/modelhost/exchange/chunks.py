"""OpenAI's chunks, as engines write them and as clients read them, and the events that they stand for.

A chunk becomes one piece of an answer and a piece becomes one chunk; what is read and written again has the same
fields, in an order of its own. Shape: https://platform.openai.com/docs/api-reference/chat/streaming, and for
completions .../completions/object.

What the host tells besides stands in extension fields of chunks whose delta is empty:

* ``modelhost.tool_call``: a call begins: ``id, name, arguments``;
* ``modelhost.tool_progress``: how far it is: ``id, progress, total, message``;
* ``modelhost.tool_log``: a server's remark while it works on a call: ``server, level, logger, data``;
* ``modelhost.tool_result``: it is over: ``id, name, server, tool, is_error, code, text, seconds``;
* ``modelhost.tool_cancelled``: the host has ended it: ``id, name``;
* ``modelhost.question``: somebody has to agree, or to tell a server something: ``id, kind, seconds`` and what about;
* ``modelhost.finish_details``, on the last piece: why the host ended the loop (``type``, ``message``);
* ``modelhost.waiting_for_tools``, before all else: the request waits for MCP servers: ``servers, seconds``;
* ``modelhost.tools``, on the first piece: what the model did not get (``missing``: ``server, state`` of each).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, TypeGuard

from msgspec.structs import replace

from modelhost.exchange.events import (
    NO_ENVELOPE,
    Begin,
    CallCancelled,
    CallFinished,
    CallLogged,
    CallProgressed,
    CallStarted,
    Envelope,
    Event,
    Extra,
    Finish,
    FinishDetails,
    HostEvent,
    Logprobs,
    Piece,
    PromptProgress,
    Question,
    Reasoning,
    Refusal,
    Text,
    ToolCallPiece,
    ToolsMissing,
    Usage,
    WaitingForTools,
)
from modelhost.exchange.nothing import NOTHING

Chunk = dict[str, Any]

CALL: Final = "modelhost.tool_call"
PROGRESS: Final = "modelhost.tool_progress"
LOG: Final = "modelhost.tool_log"
RESULT: Final = "modelhost.tool_result"
CALL_ENDED: Final = "modelhost.tool_cancelled"
QUESTION: Final = "modelhost.question"
FINISH_DETAILS: Final = "modelhost.finish_details"
WAITING: Final = "modelhost.waiting_for_tools"
TOOLS: Final = "modelhost.tools"
PROMPT_PROGRESS: Final = "prompt_progress"

COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
MOST_PIECES: Final = 4096
"""Calls, or choices, that one answer may have: those before it are made room for."""
CHAT: Final = "chat.completion.chunk"
OF_ENVELOPES: Final = frozenset({"id", "created", "model", "object", "system_fingerprint", "service_tier"})
REASONING: Final = "reasoning_content"
TEXTS: Final[Mapping[str, type[Text | Reasoning | Refusal]]] = {
    "content": Text,
    REASONING: Reasoning,
    "refusal": Refusal,
}


class MalformedChunkError(ValueError):
    """It has no shape that is known."""


class ChunkReader:
    """Reads the chunks of one answer."""

    def __init__(self) -> None:
        self._envelope = NO_ENVELOPE
        self._written: Mapping[str, Any] = NOTHING
        # Of the chunks that are like the one before, and tell nothing besides, as nearly all do.
        self._fields: frozenset[str] = frozenset()
        self._values_of: Callable[[Chunk], Any] = dict
        self._values: Any = None

    def read(self, chunk: Any) -> Piece:
        """Return the piece that ``chunk``, decoded JSON, stands for.

        Raises:
            MalformedChunkError: as its name says.
        """
        if chunk.__class__ is not dict or (choices := chunk.get("choices")).__class__ is not list:
            raise MalformedChunkError
        has_more = chunk.keys() != self._fields
        if has_more or self._values_of(chunk) != self._values:
            has_more = self._look_at(chunk)
        envelope = self._envelope
        if len(choices) == 1 and (text := _text_alone(choices[0])) is not None and not has_more:
            return (Text(envelope=envelope, choice=choices[0]["index"], text=text),)
        events: list[Event] = []
        for choice in choices:
            _read_choice(choice, envelope, events)
        if has_more:
            events = _with_rest(chunk, envelope, events)
        return tuple(events) or (Event(envelope=envelope),)

    def _look_at(self, chunk: Chunk) -> bool:
        """Read what the chunk tells of its answer; return whether it tells more besides."""
        written = {name: chunk[name] for name in OF_ENVELOPES if name in chunk}
        if written != self._written:
            self._written = dict(written)
            self._envelope = Envelope(
                id=written.pop("id", None),
                created=written.pop("created", None),
                model=written.pop("model", None),
                kind=written.pop("object", CHAT),
                extra=written or NOTHING,
            )
        if chunk.keys() - _OF_ALL_CHUNKS:
            return True
        if names := tuple(self._written):
            self._fields = frozenset(chunk)
            self._values_of = itemgetter(*names)
            self._values = self._values_of(chunk)
        return False


_OF_ALL_CHUNKS: Final = OF_ENVELOPES | {"choices"}
_OF_TEXT_ALONE: Final = 3


def _text_alone(choice: Any) -> str | None:
    """Return the text of a choice that holds nothing else, as nearly all do; ``None`` says that it must be read."""
    if (
        choice.__class__ is dict
        and len(choice) == _OF_TEXT_ALONE
        and choice.get("finish_reason", choice) is None
        and (delta := choice.get("delta")).__class__ is dict
        and len(delta) == 1
        and (text := delta.get("content")).__class__ is str
        and _is_place(choice.get("index"))
    ):
        return str(text)
    return None


def _with_rest(chunk: Chunk, envelope: Envelope, events: list[Event]) -> list[Event]:
    """Return ``events`` with what ``chunk`` has beside its choices."""
    rest = {name: value for name, value in chunk.items() if name not in _OF_ALL_CHUNKS}
    if (usage := rest.get("usage")) is not None:
        if not is_usage(usage):
            raise MalformedChunkError
        events.append(Usage(envelope=envelope, usage=rest.pop("usage")))
    if (progress := rest.pop(PROMPT_PROGRESS, None)) is not None:
        events.append(PromptProgress(envelope=envelope, progress=progress))
    events += [_host_event(name, rest.pop(name), envelope) for name in _HOST_EVENTS if name in rest]
    if details := rest.pop(FINISH_DETAILS, None):
        events = [_with_details(event, details) for event in events]
    if not rest:
        return events
    first = events[0] if events else Event(envelope=envelope)
    extra = Extra(chunk=rest) if first.extra is None else replace(first.extra, chunk=rest)
    return [replace(first, extra=extra), *events[1:]]


def _host_event(name: str, told: Any, envelope: Envelope) -> Event:
    try:
        return replace(_HOST_EVENTS[name](told), envelope=envelope)
    except (AttributeError, KeyError, TypeError) as error:
        raise MalformedChunkError from error


def _with_details(event: Event, details: Any) -> Event:
    if not isinstance(event, Finish) or not isinstance(details, dict):
        return event
    return replace(event, details=FinishDetails(kind=details.get("type", ""), message=details.get("message")))


_OF_QUESTION: Final = frozenset({"id", "kind", "seconds"})


def _reads(kind: type[HostEvent]) -> Callable[[Any], HostEvent]:
    """Return what makes an event of that kind of fields, those that this version does not know left out."""
    known = set(kind.__struct_fields__) - {"envelope", "extra"}
    return lambda told: kind(**{name: value for name, value in told.items() if name in known})


def _question_in(told: Any) -> Question:
    about = {name: value for name, value in told.items() if name not in _OF_QUESTION}
    return Question(**{name: told[name] for name in _OF_QUESTION if name in told}, about=about)


_HOST_EVENTS: Final[Mapping[str, Callable[[Any], HostEvent]]] = {
    CALL: _reads(CallStarted),
    PROGRESS: _reads(CallProgressed),
    LOG: lambda told: CallLogged(line=told),
    RESULT: _reads(CallFinished),
    CALL_ENDED: _reads(CallCancelled),
    QUESTION: _question_in,
    WAITING: lambda told: WaitingForTools(servers=tuple(told["servers"]), seconds=told["seconds"]),
    TOOLS: lambda told: ToolsMissing(servers=tuple((each["server"], each["state"]) for each in told["missing"])),
}


_OF_CHOICES: Final = frozenset({"index", "delta", "text", "finish_reason", "logprobs"})


def _read_choice(choice: Any, envelope: Envelope, events: list[Event]) -> None:
    if choice.__class__ is not dict or not _is_place(index := choice.get("index")):
        raise MalformedChunkError
    at = len(events)
    of_delta: dict[str, Any] | None = None
    if (delta := choice.get("delta", NOTHING)) is not NOTHING:
        of_delta = _read_delta(delta, index, envelope, events)
    elif "text" in choice:
        events.append(Text(envelope=envelope, choice=index, text=_text(choice["text"])))
    rest = {name: choice[name] for name in more} if (more := choice.keys() - _OF_CHOICES) else None
    if "logprobs" in choice:
        rest = _read_logprobs(choice["logprobs"], index, envelope, events, rest)
    if (reason := choice.get("finish_reason")) is not None:
        events.append(Finish(envelope=envelope, choice=index, reason=_text(reason)))
    if len(events) == at:
        events.append(Begin(envelope=envelope, choice=index, role=None))
    if rest or of_delta:
        events[at] = replace(events[at], extra=Extra(choice=rest or NOTHING, delta=of_delta or NOTHING))


def _read_logprobs(
    logprobs: Any, index: int, envelope: Envelope, events: list[Event], rest: dict[str, Any] | None
) -> dict[str, Any] | None:
    if logprobs is None:
        return {**(rest or NOTHING), "logprobs": None}
    if logprobs.__class__ is not dict:
        raise MalformedChunkError
    events.append(Logprobs(envelope=envelope, choice=index, logprobs=logprobs))
    return rest


def _read_delta(delta: Any, index: int, envelope: Envelope, events: list[Event]) -> dict[str, Any] | None:
    """Read what is written in a delta; return what else stands in it."""
    if delta.__class__ is not dict:
        raise MalformedChunkError
    rest: dict[str, Any] = {}
    for name, value in delta.items():
        if value is None:
            rest[name] = None
        elif name == "tool_calls":
            if value.__class__ is not list:
                raise MalformedChunkError
            for piece in value:
                events.append(_call_piece(piece, index, envelope))  # noqa: PERF401 (slower for the one that there is)
        elif (kind := TEXTS.get(name)) is not None:
            events.append(kind(envelope=envelope, choice=index, text=_text(value)))
        elif name == "role":
            events.append(Begin(envelope=envelope, choice=index, role=_text(value)))
        else:
            rest[name] = value
    return rest


_OF_CALLS: Final = frozenset({"index", "id", "function"})


def _call_piece(piece: Any, choice: int, envelope: Envelope) -> ToolCallPiece:
    if piece.__class__ is not dict or not _is_place(index := piece.get("index", 0)):
        raise MalformedChunkError
    function = piece.get("function") or NOTHING
    if not isinstance(function, Mapping):
        raise MalformedChunkError
    rest = piece.keys() - _OF_CALLS
    return ToolCallPiece(
        envelope=envelope,
        choice=choice,
        index=index,
        id=_text_or_none(piece.get("id")),
        name=_text_or_none(function.get("name")),
        arguments=_text_or_none(function.get("arguments")),
        call_extra={name: piece[name] for name in rest} if rest else NOTHING,
    )


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedChunkError
    return value


def is_usage(usage: Any) -> bool:
    """Whether ``usage`` counts tokens."""
    if not isinstance(usage, dict) or not all(_is_count(usage.get(name, 0)) for name in COUNTS):
        return False
    details = usage.get("prompt_tokens_details")
    return details is None or (isinstance(details, dict) and _is_count(details.get("cached_tokens", 0)))


def _is_place(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < MOST_PIECES


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and value >= 0)


# Writing.


def chunk_of(piece: Piece) -> Chunk:
    """Return ``piece`` as a chunk."""
    return {**head_of(piece[0].envelope), **rest_of(piece)}


def head_of(envelope: Envelope) -> Chunk:
    """Return what all chunks of an answer begin with."""
    head: Chunk = {"object": envelope.kind}
    for name, value in (("id", envelope.id), ("created", envelope.created), ("model", envelope.model)):
        if value is not None:
            head[name] = value
    head.update(envelope.extra)
    return head


def rest_of(piece: Piece) -> Chunk:
    """Return what the chunk of ``piece`` has beside its head; never empty."""
    event = piece[0]
    is_chat = event.envelope.kind == CHAT
    if is_chat and len(piece) == 1 and event.__class__ is Text and event.extra is None:  # as nearly all are
        return {"choices": [{"index": event.choice, "finish_reason": None, "delta": {"content": event.text}}]}
    writing = _Writing(is_chat=is_chat)
    for event in piece:
        if (write := _WRITERS.get(event.__class__)) is not None:
            write(writing, event)
        if event.extra is not None:
            writing.add_extra(event, event.extra)
    writing.chunk["choices"] = list(writing.choices.values())
    return writing.chunk


class _Writing:
    """A chunk that is being written."""

    __slots__ = ("choices", "chunk", "is_chat")

    def __init__(self, *, is_chat: bool) -> None:
        self.chunk: Chunk = {}
        self.is_chat = is_chat
        self.choices: dict[int, Chunk] = {}

    def choice(self, index: int) -> Chunk:
        found = self.choices.get(index)
        if found is None:
            found = self.choices[index] = {"index": index, "finish_reason": None}
            if self.is_chat:
                found["delta"] = {}
        return found

    def add(self, index: int, name: str, text: str) -> None:
        """Add a text to the delta of a choice."""
        if not self.is_chat:
            choice = self.choice(index)
            choice["text"] = choice.get("text", "") + text
            return
        delta = self.choice(index)["delta"]
        delta[name] = delta.get(name, "") + text

    def tell(self, name: str, fields: Mapping[str, Any]) -> None:
        """Tell of something besides, beside an empty delta, which ordinary clients pass over."""
        self.choice(0)
        self.chunk[name] = fields

    def add_extra(self, event: Event, extra: Extra) -> None:
        self.chunk.update(extra.chunk)
        if extra.choice or extra.delta:
            choice = self.choice(getattr(event, "choice", 0))
            choice.update(extra.choice)
            if extra.delta:
                choice.setdefault("delta", {}).update(extra.delta)


def _begin(writing: _Writing, event: Begin) -> None:
    choice = writing.choice(event.choice)
    if event.role is not None and writing.is_chat:
        choice["delta"]["role"] = event.role


def _call(writing: _Writing, event: ToolCallPiece) -> None:
    calls: list[Chunk] = writing.choice(event.choice)["delta"].setdefault("tool_calls", [])
    function = {
        name: value for name, value in (("name", event.name), ("arguments", event.arguments)) if value is not None
    }
    known = {"index": event.index} if event.id is None else {"index": event.index, "id": event.id}
    calls.append({**known, **event.call_extra, **({"function": function} if function else {})})


def _finish(writing: _Writing, event: Finish) -> None:
    choice = writing.choice(event.choice)
    choice["finish_reason"] = event.reason
    if not writing.is_chat:
        choice.setdefault("text", "")
    if event.details is not None:
        writing.chunk[FINISH_DETAILS] = {"type": event.details.kind, "message": event.details.message}


def _logprobs(writing: _Writing, event: Logprobs) -> None:
    writing.choice(event.choice)["logprobs"] = event.logprobs


def _usage(writing: _Writing, event: Usage) -> None:
    writing.chunk["usage"] = event.usage


def _prompt_progress(writing: _Writing, event: PromptProgress) -> None:
    writing.chunk[PROMPT_PROGRESS] = event.progress


def _started(writing: _Writing, event: CallStarted) -> None:
    writing.tell(CALL, {"id": event.id, "name": event.name, "arguments": event.arguments})


def _progressed(writing: _Writing, event: CallProgressed) -> None:
    writing.tell(PROGRESS, {"id": event.id, "progress": event.progress, "total": event.total, "message": event.message})


def _logged(writing: _Writing, event: CallLogged) -> None:
    writing.tell(LOG, event.line)


def _finished(writing: _Writing, event: CallFinished) -> None:
    writing.tell(RESULT, result_fields(event))


def _cancelled(writing: _Writing, event: CallCancelled) -> None:
    writing.tell(CALL_ENDED, {"id": event.id, "name": event.name})


def _question(writing: _Writing, event: Question) -> None:
    writing.tell(QUESTION, {"id": event.id, "kind": event.kind, "seconds": event.seconds, **event.about})


def _waiting(writing: _Writing, event: WaitingForTools) -> None:
    writing.tell(WAITING, {"servers": list(event.servers), "seconds": event.seconds})


def _missing(writing: _Writing, event: ToolsMissing) -> None:
    writing.tell(TOOLS, missing_fields(event))


def result_fields(event: CallFinished) -> dict[str, Any]:
    """Return what is told of a call that is over."""
    return {
        "id": event.id,
        "name": event.name,
        "server": event.server,
        "tool": event.tool,
        "is_error": event.is_error,
        "code": event.code,
        "text": event.text,
        "seconds": event.seconds,
    }


def missing_fields(event: ToolsMissing) -> dict[str, Any]:
    """Return what is told of servers that are missing."""
    return {"missing": [{"server": server, "state": state} for server, state in event.servers]}


_WRITERS: Final[Mapping[type[Event], Callable[[_Writing, Any], None]]] = {
    Begin: _begin,
    Text: lambda writing, event: writing.add(event.choice, "content", event.text),
    Reasoning: lambda writing, event: writing.add(event.choice, REASONING, event.text),
    Refusal: lambda writing, event: writing.add(event.choice, "refusal", event.text),
    Logprobs: _logprobs,
    ToolCallPiece: _call,
    Finish: _finish,
    Usage: _usage,
    PromptProgress: _prompt_progress,
    CallStarted: _started,
    CallProgressed: _progressed,
    CallLogged: _logged,
    CallFinished: _finished,
    CallCancelled: _cancelled,
    Question: _question,
    WaitingForTools: _waiting,
    ToolsMissing: _missing,
}
