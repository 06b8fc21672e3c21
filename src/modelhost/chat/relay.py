"""One streamed answer on its way through the host: bytes in, the same bytes out.

Only a block that holds usage or an error is opened, and that is one at the end of an answer. ``"usage"`` with its quotes
cannot stand in generated text, where JSON escapes the quotes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from modelhost.errors import ModelhostError

Refusal = Callable[[int, Any], ModelhostError]

DATA = b"data:"
DONE = b"[DONE]"
END_OF_EVENT = b"\n\n"


@dataclass(slots=True, kw_only=True)
class Report:
    """What is known of an answer so far: times from ``time.perf_counter``, usage once the engine has told it."""

    began: float = field(default_factory=time.perf_counter)
    first_at: float | None = None
    last_at: float | None = None
    usage: dict[str, Any] | None = None


def encode_event(payload: Any) -> bytes:
    """Return ``payload`` as one SSE event."""
    return b"data: " + orjson.dumps(payload) + END_OF_EVENT


def payloads_of(block: bytes) -> list[Any]:
    """Return the decoded data of each event in ``block``, the end marker and comments left out."""
    found = []
    for event in block.split(END_OF_EVENT):
        if event.startswith(DATA):
            data = event[len(DATA) :].strip()
            if data != DONE:
                found.append(orjson.loads(data))
    return found


class Relay:
    """Passes the blocks of one answer on and notes what the host has to know."""

    def __init__(self, *, report: Report, include_usage: bool, refusal: Refusal) -> None:
        self._report = report
        self._include_usage = include_usage
        self._refusal = refusal

    def pass_on(self, block: bytes) -> bytes:
        """Return what the client gets for ``block``: nearly always ``block`` itself.

        Raises:
            ModelhostError: the engine reports an error in the middle of its answer.
        """
        report = self._report
        report.last_at = time.perf_counter()
        if report.first_at is None:
            report.first_at = report.last_at
        if b'"usage"' in block or b'"error"' in block:
            return b"".join(self._open(event) for event in block.split(END_OF_EVENT) if event)
        return block

    def _open(self, event: bytes) -> bytes:
        raw = event + END_OF_EVENT
        data = event[len(DATA) :].strip()
        if not event.startswith(DATA) or data == DONE:
            return raw
        payload = orjson.loads(data)
        if "error" in payload:
            code = payload["error"].get("code")
            raise self._refusal(code if isinstance(code, int) else 500, payload)
        usage = payload.get("usage")
        if usage is None:
            return raw
        self._report.usage = usage
        if not payload["choices"]:
            return raw if self._include_usage else b""
        # llama.cpp's completions put the usage on the last piece; OpenAI sends it as an event of its own, if asked.
        del payload["usage"]
        last = encode_event(payload)
        if not self._include_usage:
            return last
        return last + encode_event({**payload, "choices": [], "usage": usage})
