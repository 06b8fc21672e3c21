"""Relays a streamed answer: bytes in, the same bytes out.

Only blocks with usage or an error are decoded, which come at the end of an answer. ``"usage"`` with its quotes cannot
occur in generated text, in which JSON escapes the quotes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from msgspec import Struct, field

from modelhost.errors import ModelhostError
from modelhost.exchange.chunk_reading import ChunkReader, MalformedChunkError, is_usage
from modelhost.exchange.chunks import ENVELOPE_FIELDS
from modelhost.exchange.events import Piece
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.sse import DATA, DONE, DONE_EVENT, END_OF_EVENT, encode_event

Refusal = Callable[[int, Any], ModelhostError]

OF_USAGE: Final = ENVELOPE_FIELDS | {"choices", "usage"}
UNKNOWN = "has no shape that is known"
JSON_END, MARKER_END = b"}\n\n", b"]\n\n"
NEXT_EVENT = JSON_END + b"data: "
USAGE, ERROR = b'"usage"', b'"error"'
ONE_CHUNK = b"data: {"  # how nearly all blocks begin, with nothing behind it if the engine writes each token by itself
SOUND_ENDS = (JSON_END, MARKER_END)  # of an event that is JSON, or the end marker
MODEL_OUTPUT = "model_output"  # in the details of an engine's error: it could not parse what its model wrote


class Report(Struct, eq=False, kw_only=True):
    """What is known of an answer so far: times from ``time.perf_counter``, and usage once the engine has sent it."""

    began: float = field(default_factory=time.perf_counter)
    first_at: float | None = None
    last_at: float | None = None
    usage: dict[str, Any] | None = None
    besides: Mapping[str, Any] = NOTHING
    """What the engine sent together with the usage, such as ``timings``."""
    end: bytes = b""
    """The events right before the usage, or with it: the end of the choices."""
    events: int = 0
    """How many the engine has sent."""
    written_tokens: int = 0
    """The tokens of an answer that ended without usage, as far as they are known."""


def _events_of(block: bytes) -> int:
    """Return how many events ``block`` has; 0 if one is incomplete: a writer that was cut off may go on with the next.

    ``block`` ends as an event should.
    """
    # Nearly all are "data: " and one line of JSON, and a long text is found in less time than a line end is.
    events = block.count(NEXT_EVENT) + 1
    if 2 * events == block.count(b"\n"):
        return events
    events = block.count(END_OF_EVENT)
    return events if events == block.count(JSON_END) + block.endswith(MARKER_END) else 0


def payloads_of(block: bytes) -> list[Any]:
    """Return the decoded data of each event in ``block``, without the end marker and comments.

    Raises:
        orjson.JSONDecodeError: the data of an event is not JSON.
    """
    return [orjson.loads(event[len(DATA) :]) for event in block.split(END_OF_EVENT) if _has_payload(event)]


def _has_payload(event: bytes) -> bool:
    return event.startswith(DATA) and not event.rstrip().endswith(DONE)


def _plain_events(block: bytes) -> bytes:
    """Return the events of ``block`` before the first one with usage or an error."""
    place = block.find(USAGE)
    if block.rfind(ERROR) >= 0:
        error = block.find(ERROR)
        place = error if place < 0 else min(place, error)
    end = block.rfind(NEXT_EVENT, 0, max(place, 0))
    return b"" if end < 0 else block[: end + len(JSON_END)]


class Relay:
    """Passes on the blocks of one answer, and records usage, times and errors."""

    def __init__(
        self,
        *,
        report: Report,
        include_usage: bool,
        refusal: Refusal,
        may_fail_to_parse: bool = False,
        is_counting: bool = False,
    ) -> None:
        """Take how to handle the blocks.

        Args:
            may_fail_to_parse: the engine parses the model's output (calls, JSON). If it fails, the answer ends where it
                stopped, as if the model had finished it.
            is_counting: every chunk has the usage so far, and keeps it.
        """
        self._report = report
        self._include_usage = include_usage
        self._refusal = refusal
        self._may_fail_to_parse = may_fail_to_parse
        self._is_counting = is_counting
        self._last = b""
        self._reader = ChunkReader()
        self.failure: ModelhostError | None = None
        """Why the answer ends early: the engine reported an error, or an event is malformed. To be raised after what
        precedes it in the same block has been passed on."""

    def pass_on(self, block: bytes) -> bytes:
        """Return what the client gets for ``block``, nearly always ``block`` itself; up to a :attr:`failure` in it."""
        report = self._report
        report.last_at = time.perf_counter()
        if report.first_at is None:
            report.first_at = report.last_at
        # Not with "in", which first tries to convert the operand to an integer and handles the error; nor with "find",
        # which takes four times as long as "rfind" does in a block of many events.
        if block.rfind(USAGE) >= 0 or block.rfind(ERROR) >= 0 or not block.endswith(SOUND_ENDS):
            return self._opened(block)
        events = 1 if block.find(b"\n") == len(block) - len(END_OF_EVENT) else _events_of(block)
        if not events:
            return self._opened(block)
        report.events += events
        if block != DONE_EVENT:
            self._last = block
        return block

    def end(self) -> None:
        """Note that the engine has sent everything; some send no usage."""
        self._report.end = self._report.end or self._last

    def read(self, block: bytes) -> list[Piece]:
        """Return what the client gets for ``block`` as pieces, up to a :attr:`failure` in it."""
        found: list[Piece] = []
        read, passed = self._reader.read, self.pass_on(block)
        try:
            if passed.startswith(ONE_CHUNK) and passed.find(END_OF_EVENT) == len(passed) - len(END_OF_EVENT):
                return [read(orjson.loads(passed[len(DATA) :]))]
            for event in passed.split(END_OF_EVENT):
                if event.startswith(DATA) and not event.rstrip().endswith(DONE):
                    # What was read before an error is kept.
                    found.append(read(orjson.loads(event[len(DATA) :])))  # noqa: PERF401
        except orjson.JSONDecodeError:
            self.failure = self._broken()
        except MalformedChunkError:
            self.failure = self._broken(UNKNOWN)
        return found

    def _opened(self, block: bytes) -> bytes:
        """Return what the client gets for ``block``, whose events are decoded from the first with usage or an error."""
        # A worker at full speed sends a whole answer as one block, of which the end alone is decoded.
        plain = _plain_events(block)
        events = _events_of(plain) if plain else 0
        if events:
            start = plain.rfind(END_OF_EVENT, 0, -len(END_OF_EVENT)) + len(END_OF_EVENT) if events > 1 else 0
            self._last = plain[start:]
            block = block[len(plain) :]
        self._report.events += events + block.count(END_OF_EVENT)
        passed = [plain] if events else []
        try:
            for event in block.split(END_OF_EVENT):
                if event:
                    passed.append(self._open(event))  # noqa: PERF401 (what was passed before an error is kept)
        except ModelhostError as error:
            self.failure = error
        return b"".join(passed)

    def _open(self, event: bytes) -> bytes:
        raw = event + END_OF_EVENT
        data = event[len(DATA) :].strip()
        if not event.startswith(DATA) or data == DONE:
            return raw
        payload = self._payload(data)
        if "error" in payload:
            return self._failed(payload)
        before, self._last = self._last, raw
        usage = payload.get("usage")
        if usage is None:
            return raw
        if not is_usage(usage):
            raise self._broken(UNKNOWN)
        self._report.usage = usage
        self._report.besides = {name: value for name, value in payload.items() if name not in OF_USAGE}
        is_by_itself = not payload.get("choices")
        self._report.end = before if is_by_itself else raw
        if is_by_itself or self._is_counting:
            return raw if self._include_usage or not is_by_itself else b""
        # llama.cpp's completions have the usage on the last piece; OpenAI sends it as a separate event, on request.
        del payload["usage"]
        last = encode_event(payload)
        if not self._include_usage:
            return last
        return last + encode_event({**payload, "choices": [], "usage": usage})

    def _payload(self, data: bytes) -> dict[str, Any]:
        try:
            payload = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self._broken() from None
        if not isinstance(payload, dict):
            raise self._broken()
        return payload

    def _broken(self, how: str = "is not JSON") -> ModelhostError:
        return self._refusal(500, {"error": {"message": f"an event of its answer {how}", "type": "malformed_event"}})

    def _failed(self, payload: dict[str, Any]) -> bytes:
        """Raise the error in ``payload``, or end an answer whose output the engine could not parse."""
        error = payload["error"]
        code = error.get("code") if isinstance(error, dict) else None
        refusal = self._refusal(code if isinstance(code, int) else 500, payload)
        pieces = payloads_of(self._last)
        if not (self._may_fail_to_parse and refusal.details.get(MODEL_OUTPUT) and pieces):
            raise refusal
        envelope = {key: value for key, value in pieces[-1].items() if key != "choices"}
        # The engine sent no usage. It writes a role event first, and then one for each token or more.
        count = max(0, self._report.events - 2)
        usage = {"prompt_tokens": 0, "completion_tokens": count, "total_tokens": count}
        self._report.usage = usage
        end = encode_event({**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if self._include_usage:
            end += encode_event({**envelope, "choices": [], "usage": usage})
        return end + DONE_EVENT
