"""What Ollama's API writes: JSON objects, in streams one in a line (NDJSON), also for errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from modelhost import json_text
from modelhost.errors import ModelhostError
from modelhost.http.errors import Answer, error_answer, error_object, with_body

NDJSON: Final = b"application/x-ndjson"
END: Final = b'"done":true}\n'
"""What the last line of a complete answer ends with."""
KEEP_ALIVE: Final = b" "
"""White space before a line, which is part of its JSON; clients fail at an empty line."""
_LINE_ENDS: Final = {"\x85": b"\\u0085", "\u2028": b"\\u2028", "\u2029": b"\\u2029"}
NANOSECONDS: Final = 1_000_000_000
NANOSECONDS_PER_MICROSECOND: Final = 1_000
LINE_ENDS: Final = tuple((character.encode(), escape) for character, escape in _LINE_ENDS.items())
"""Characters that JSON may hold as they are, but at which Python's clients end a line."""


def line_of(fields: Mapping[str, Any]) -> bytes:
    return within_line(json_text.encode(fields, default=str)) + b"\n"


def within_line(written: bytes) -> bytes:
    """Return JSON without characters that end a line."""
    if not written.isascii():
        for character, escape in LINE_ENDS:
            written = written.replace(character, escape)
    return written


def now() -> str:
    """Return the time as in ``created_at``: RFC 3339, with a fraction of the second, in UTC."""
    second, nanoseconds = divmod(time.time_ns(), NANOSECONDS)
    return f"{_second(second)}.{nanoseconds // NANOSECONDS_PER_MICROSECOND:06d}Z"


@lru_cache(maxsize=1)  # each token has its time
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def ollama_error(error: ModelhostError) -> Answer:
    """Return status, headers and body for ``error``."""
    return with_body(error_answer(error), json_text.encode(error_fields(error), default=str))


def error_block(error: ModelhostError) -> bytes:
    """Return ``error`` as the last line of a stream."""
    return line_of(error_fields(error))


def error_fields(error: ModelhostError) -> dict[str, Any]:
    """Return ``error`` as Ollama's object; its message is the text of ``error``, which is what clients show."""
    known = error_object(error)["error"]
    return {"error": known["message"], **{name: known[name] for name in ("code", "param", "source", "details")}}
