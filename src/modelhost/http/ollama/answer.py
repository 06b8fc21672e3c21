"""Answers as lines of Ollama's API, and as whole objects that are put together from these lines.

Events of the host, such as calls that it makes, are fields of lines without text, which clients ignore; their names
begin with ``modelhost.``, and they are those of :mod:`modelhost.exchange.chunks`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from uuid import uuid4

from modelhost import json_text
from modelhost.chat.tools.turn_times import WRITTEN, reported_times
from modelhost.exchange.chunks import CALL, FINISH_DETAILS, HOST_EVENTS, RESULT, TOOLS, extension_fields
from modelhost.exchange.events import Finish, HostEvent, Logprobs, Piece, Reasoning, Refusal, Text, ToolCallPiece, Usage
from modelhost.exchange.whole_answer import TOOL_CALLS
from modelhost.http.ollama.lines import NANOSECONDS, line_of, now, within_line
from modelhost.http.translation import arguments_in
from modelhost.models.residency.hosted import HostedModel


class Stopwatch:
    """Begins with a request; all durations are whole nanoseconds."""

    def __init__(self, model: HostedModel) -> None:
        self._model = model
        self._began = time.perf_counter()
        self._began_at = time.time()
        self._first: float | None = None

    @property
    def has_text(self) -> bool:
        """Whether something of the answer was written; another piece of text needs not be noted then."""
        return self._first is not None

    def note(self, piece: Piece) -> None:
        for event in piece:
            if self._first is None and isinstance(event, WRITTEN):
                self._first = time.perf_counter()

    def total(self) -> dict[str, int]:
        """Return the time since the request came, and how much of it its model was being loaded."""
        load = min(self._load_seconds(), self._seconds())
        return {"total_duration": _nanoseconds(self._seconds()), "load_duration": _nanoseconds(load)}

    def all(self, usage: Usage) -> dict[str, int]:
        """Return the durations and the numbers of tokens of an answer that has just ended with ``usage``."""
        counts = usage.usage or {}
        prompt, written = self._durations(usage)
        return {
            **self.total(),
            "prompt_eval_count": counts.get("prompt_tokens") or 0,
            "prompt_eval_duration": prompt,
            "eval_count": counts.get("completion_tokens") or 0,
            "eval_duration": max(1, written),  # which clients divide by
        }

    def _durations(self, usage: Usage) -> tuple[int, int]:
        """Return how long the prompt and the answer took; in several turns, those of all, without what tools took."""
        if (times := usage.times or reported_times(usage)) is not None:
            return _nanoseconds(times.prompt_seconds), _nanoseconds(times.answer_seconds)
        computing = self._seconds() - self._load_seconds()
        first = computing if self._first is None else self._first - self._began - self._load_seconds()
        return _nanoseconds(first), _nanoseconds(computing - first)

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _load_seconds(self) -> float:
        loaded_at = self._model.loaded_at
        return 0.0 if loaded_at is None else max(0.0, loaded_at - self._began_at)


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * NANOSECONDS))


Line = dict[str, Any]
Kind = Literal["chat", "generate"]

LENGTH: Final = "length"
STOP: Final = "stop"
TEXT_LINE: Final[Mapping[Kind, tuple[bytes, bytes]]] = {
    "chat": (b'","message":{"role":"assistant","content":', b'},"done":false}\n'),
    "generate": (b'","response":', b',"done":false}\n'),
}
"""What stands between the time and the text of a line, and behind the text."""
_NAMES: Final[Mapping[type[HostEvent], str]] = {kind: name for name, kind in HOST_EVENTS.items()}


def empty_line(kind: Kind, model: str) -> Line:
    """Return a line without text; ``done`` is to be added as its last field."""
    text: Line = {"message": {"role": "assistant", "content": ""}} if kind == "chat" else {"response": ""}
    return {"model": model, "created_at": now(), **text}


def ended(kind: Kind, model: str, reason: str) -> Line:
    """Return the answer to a request that only loads or unloads a model."""
    return {**empty_line(kind, model), "done_reason": reason, "done": True}


class AnswerLines:
    """Turns the pieces of one answer into lines."""

    def __init__(self, kind: Kind, model: str, stopwatch: Stopwatch, *, shows_thinking: bool = True) -> None:
        """``model`` is the name that the client gave."""
        self._kind = kind
        self._model = model
        self._stopwatch = stopwatch
        self._shows_thinking = shows_thinking
        self._calls: dict[int, ToolCallPiece] = {}
        """The calls so far, with all that has come of them."""
        self._finish = Finish(reason=STOP)
        # A line with text, around the time and the text.
        self._head = b'{"model":' + within_line(json_text.encode(model)) + b',"created_at":"'
        self._middle, self._tail = TEXT_LINE[kind]

    def of(self, piece: Piece) -> Iterator[Line]:
        """Yield the lines for a piece; the last one when it is the usage of the whole answer."""
        self._stopwatch.note(piece)
        text = "".join(event.text for event in piece if isinstance(event, Text | Refusal))
        thinking = "".join(event.text for event in piece if isinstance(event, Reasoning) and self._shows_thinking)
        logprobs = [token for event in piece if isinstance(event, Logprobs) for token in _logprobs(event)]
        if text or thinking or logprobs:
            yield self._text_line(text, thinking, logprobs)
        for event in piece:
            match event:
                case ToolCallPiece():
                    self._add_call(event)
                case Finish():
                    self._finish = event
                case HostEvent():
                    yield self._line(**{_NAMES[event.__class__]: extension_fields(event)})
        if isinstance(piece[-1], Usage):
            if self._calls:
                yield self._call_line()
            yield self._last(piece[-1])

    def block(self, piece: Piece) -> bytes:
        """Return the lines for a piece as one text; empty if it has none."""
        event = piece[0]
        if event.__class__ is Text and len(piece) == 1:  # as nearly all are
            if not self._stopwatch.has_text:
                self._stopwatch.note(piece)
            if not event.text:
                return b""
            text = within_line(json_text.encode(event.text))
            return b"".join((self._head, now().encode(), self._middle, text, self._tail))
        return b"".join(map(line_of, self.of(piece)))

    def _line(self, **fields: Any) -> Line:
        return {**empty_line(self._kind, self._model), **fields, "done": False}

    def _text_line(self, text: str, thinking: str, logprobs: list[Line]) -> Line:
        fields: Line = {"logprobs": logprobs} if logprobs else {}
        thought: Line = {"thinking": thinking} if thinking else {}
        if self._kind == "chat":
            return self._line(message={"role": "assistant", "content": text, **thought}, **fields)
        return self._line(response=text, **thought, **fields)

    def _add_call(self, event: ToolCallPiece) -> None:
        known = self._calls.get(event.index)
        self._calls[event.index] = ToolCallPiece(
            index=event.index,
            id=event.id or (known.id if known else None) or f"call_{uuid4().hex[:24]}",
            name=(known.name or "" if known else "") + (event.name or ""),
            arguments=(known.arguments or "" if known else "") + (event.arguments or ""),
        )

    def _call_line(self) -> Line:
        """Return the line with all calls: Ollama's clients expect each call in one piece."""
        calls = [
            {
                "id": call.id,
                "function": {"index": index, "name": call.name, "arguments": arguments_in(call.arguments or "")},
            }
            for index, call in sorted(self._calls.items())
        ]
        return self._line(message={"role": "assistant", "content": "", "tool_calls": calls})

    def _last(self, usage: Usage) -> Line:
        details = self._finish.details
        about: Line = {} if details is None else {FINISH_DETAILS: {"type": details.kind, "message": details.message}}
        return {
            **empty_line(self._kind, self._model),
            "done_reason": LENGTH if self._finish.reason == LENGTH else STOP,
            **self._stopwatch.all(usage),
            **about,
            "done": True,
        }


class WholeAnswer:
    """Puts an answer together from its lines."""

    def __init__(self, lines: AnswerLines) -> None:
        self._lines = lines
        self._texts: dict[str, str] = {}
        self._calls: list[Any] = []
        self._lists: dict[str, list[Any]] = {}
        self._host_calls: dict[str, Line] = {}
        self._whole: Line = {}

    def add(self, piece: Piece) -> None:
        for line in self._lines.of(piece):
            self._add(line)

    def json(self) -> Line:
        if "message" in self._whole:
            calls: Line = {"tool_calls": self._calls} if self._calls else {}
            message = {"role": "assistant", **self._texts, **calls}
            return {**self._whole, "message": message, **self._besides()}
        return {**self._whole, **self._texts, **self._besides()}

    def _besides(self) -> Line:
        calls: Line = {TOOL_CALLS: list(self._host_calls.values())} if self._host_calls else {}
        return {**self._lists, **calls}

    def _add(self, line: Line) -> None:
        message: Line = line.get("message", line)
        for name in ("content", "response", "thinking"):
            if name in message:
                self._texts[name] = self._texts.get(name, "") + message[name]
        self._calls += message.get("tool_calls", ())
        if "logprobs" in line:
            self._lists.setdefault("logprobs", []).extend(line["logprobs"])
        for name in (CALL, RESULT):
            if name in line:
                self._host_calls.setdefault(line[name]["id"], {}).update(line[name])
        missing = {name: self._whole[name] for name in (TOOLS,) if name in self._whole}
        self._whole = {**line, **missing}


def _logprobs(event: Logprobs) -> list[Line]:
    """Return the log probabilities of a chat; those of completions have another form, and are not asked for."""
    return [
        {**_token(each), "top_logprobs": [_token(other) for other in each.get("top_logprobs") or ()]}
        for each in event.logprobs.get("content") or ()
    ]


def _token(given: Mapping[str, Any]) -> Line:
    return {name: given[name] for name in ("token", "logprob", "bytes") if given.get(name) is not None}
