"""Reads chunks (:mod:`modelhost.exchange.chunks`): each becomes one piece of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final

from msgspec.structs import replace

from modelhost.exchange.chunks import (
    CHAT,
    COUNTS,
    ENVELOPE_FIELDS,
    FINISH_DETAILS,
    HOST_EVENTS,
    MAX_PIECES,
    PROMPT_PROGRESS,
    TEXTS,
    Chunk,
)
from modelhost.exchange.events import (
    NO_ENVELOPE,
    Begin,
    CallLogged,
    CustomCallPiece,
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
    Text,
    ToolCallPiece,
    ToolsMissing,
    Usage,
    WaitingForTools,
)
from modelhost.exchange.nothing import NOTHING


class MalformedChunkError(ValueError):
    """A chunk of an unknown form."""


class ChunkReader:
    """Reads the chunks of one answer."""

    def __init__(self) -> None:
        self._envelope = NO_ENVELOPE
        self._written: Mapping[str, Any] = NOTHING
        # Of chunks with the same envelope as the one before and no further fields, as nearly all are.
        self._fields: frozenset[str] = frozenset()
        self._values_of: Callable[[Chunk], Any] = dict
        self._values: Any = None

    def read(self, chunk: Any) -> Piece:
        """Return ``chunk``, decoded JSON, as a piece; raises MalformedChunkError."""
        if chunk.__class__ is not dict or (choices := chunk.get("choices")).__class__ is not list:
            raise MalformedChunkError
        has_more = chunk.keys() != self._fields
        if has_more or self._values_of(chunk) != self._values:
            has_more = self._read_envelope(chunk)
        envelope = self._envelope
        if len(choices) == 1 and (text := _text_only(choices[0])) is not None and not has_more:
            return (Text(envelope=envelope, choice=choices[0]["index"], text=text),)
        events: list[Event] = []
        for choice in choices:
            _read_choice(choice, envelope, events)
        if has_more:
            events = _with_rest(chunk, envelope, events)
        return tuple(events) or (Event(envelope=envelope),)

    def _read_envelope(self, chunk: Chunk) -> bool:
        """Read the envelope of the chunk; return whether it has further fields."""
        written = {name: chunk[name] for name in ENVELOPE_FIELDS if name in chunk}
        if written != self._written:
            self._written = dict(written)
            self._envelope = Envelope(
                id=written.pop("id", None),
                created=written.pop("created", None),
                model=written.pop("model", None),
                kind=written.pop("object", CHAT),
                extra=written or NOTHING,
            )
        if chunk.keys() - _CHUNK_FIELDS:
            return True
        if names := tuple(self._written):
            self._fields = frozenset(chunk)
            self._values_of = itemgetter(*names)
            self._values = self._values_of(chunk)
        return False


_CHUNK_FIELDS: Final = ENVELOPE_FIELDS | {"choices"}
_TEXT_ONLY_FIELDS: Final = 3


def _text_only(choice: Any) -> str | None:
    """Return the text of a choice that holds nothing else, as nearly all do; otherwise ``None``."""
    if (
        choice.__class__ is dict
        and len(choice) == _TEXT_ONLY_FIELDS
        and choice.get("finish_reason", choice) is None
        and (delta := choice.get("delta")).__class__ is dict
        and len(delta) == 1
        and (text := delta.get("content")).__class__ is str
        and (index := choice.get("index")).__class__ is int
        and 0 <= index < MAX_PIECES
    ):
        return str(text)
    return None


def _with_rest(chunk: Chunk, envelope: Envelope, events: list[Event]) -> list[Event]:
    """Return ``events`` with the fields of ``chunk`` besides its choices."""
    rest = {name: value for name, value in chunk.items() if name not in _CHUNK_FIELDS}
    if (usage := rest.get("usage")) is not None:
        if not is_usage(usage):
            raise MalformedChunkError
        events.append(Usage(envelope=envelope, usage=rest.pop("usage")))
    if (progress := rest.pop(PROMPT_PROGRESS, None)) is not None:
        events.append(PromptProgress(envelope=envelope, progress=progress))
    events += [_host_event(HOST_EVENTS[name], rest.pop(name), envelope) for name in HOST_EVENTS if name in rest]
    if details := rest.pop(FINISH_DETAILS, None):
        events = [_with_details(event, details) for event in events]
    if not rest:
        return events
    first = events[0] if events else Event(envelope=envelope)
    extra = Extra(chunk=rest) if first.extra is None else replace(first.extra, chunk=rest)
    return [replace(first, extra=extra), *events[1:]]


def _host_event(kind: type[HostEvent], fields: Any, envelope: Envelope) -> Event:
    try:
        return replace(_read_host_event(kind, fields), envelope=envelope)
    except (AttributeError, KeyError, TypeError) as error:
        raise MalformedChunkError from error


def _read_host_event(kind: type[HostEvent], fields: Any) -> HostEvent:
    if kind is CallLogged:
        return CallLogged(line=fields)
    if kind is ToolsMissing:
        return ToolsMissing(servers=tuple((each["server"], each["state"]) for each in fields["missing"]))
    own = set(kind.__struct_fields__) - _EVENT_FIELDS
    known = {name: value for name, value in fields.items() if name in own}
    if kind is Question:
        known["about"] = {name: value for name, value in fields.items() if name not in known}
    if kind is WaitingForTools:
        known["servers"] = tuple(known["servers"])
    return kind(**known)


def _with_details(event: Event, details: Any) -> Event:
    if not isinstance(event, Finish) or not isinstance(details, dict):
        return event
    return replace(event, details=FinishDetails(kind=details.get("type", ""), message=details.get("message")))


_EVENT_FIELDS: Final = frozenset(Event.__struct_fields__)
_CHOICE_FIELDS: Final = frozenset({"index", "delta", "text", "finish_reason", "logprobs"})


def _read_choice(choice: Any, envelope: Envelope, events: list[Event]) -> None:
    if choice.__class__ is not dict or not isinstance(index := choice.get("index"), int) or not 0 <= index < MAX_PIECES:
        raise MalformedChunkError
    at = len(events)
    of_delta: dict[str, Any] | None = None
    if (delta := choice.get("delta", NOTHING)) is not NOTHING:
        of_delta = _read_delta(delta, index, envelope, events)
    elif "text" in choice:
        events.append(Text(envelope=envelope, choice=index, text=_text(choice["text"])))
    rest = {name: choice[name] for name in more} if (more := choice.keys() - _CHOICE_FIELDS) else None
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
    """Read the known fields of a delta; return the others."""
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


_CALL_FIELDS: Final = frozenset({"index", "id", "function"})
_CUSTOM_CALL_FIELDS: Final = frozenset({"index", "id", "custom"})


def _call_piece(piece: Any, choice: int, envelope: Envelope) -> ToolCallPiece | CustomCallPiece:
    if (
        piece.__class__ is not dict
        or not isinstance(index := piece.get("index", 0), int)
        or not 0 <= index < MAX_PIECES
    ):
        raise MalformedChunkError
    function = piece.get("function")
    if not function:
        if piece.get("custom"):
            return _custom_call_piece(piece, index, choice, envelope)
        function = NOTHING
    elif function.__class__ is not dict:
        raise MalformedChunkError
    call_id, name, arguments = piece.get("id"), function.get("name"), function.get("arguments")
    for text in (call_id, name, arguments):
        if text is not None and text.__class__ is not str:
            raise MalformedChunkError
    rest = piece.keys() - _CALL_FIELDS
    return ToolCallPiece(
        envelope=envelope,
        choice=choice,
        index=index,
        id=call_id,
        name=name,
        arguments=arguments,
        call_extra={name: piece[name] for name in rest} if rest else NOTHING,
    )


def _custom_call_piece(piece: Mapping[str, Any], index: int, choice: int, envelope: Envelope) -> CustomCallPiece:
    custom = piece["custom"]
    if not isinstance(custom, Mapping):
        raise MalformedChunkError
    rest = piece.keys() - _CUSTOM_CALL_FIELDS
    return CustomCallPiece(
        envelope=envelope,
        choice=choice,
        index=index,
        id=_text_or_none(piece.get("id")),
        name=_text_or_none(custom.get("name")),
        input=_text_or_none(custom.get("input")),
        call_extra={name: piece[name] for name in rest} if rest else NOTHING,
    )


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedChunkError
    return value


def is_usage(usage: Any) -> bool:
    """Whether ``usage`` is a valid usage object."""
    if not isinstance(usage, dict) or not all(_is_count(usage.get(name, 0)) for name in COUNTS):
        return False
    details = usage.get("prompt_tokens_details")
    return details is None or (isinstance(details, dict) and _is_count(details.get("cached_tokens", 0)))


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and value >= 0)
