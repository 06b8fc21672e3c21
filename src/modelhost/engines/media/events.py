"""The answers of workers for sound and images that are events: each is a JSON object with its kind in ``event``."""

from __future__ import annotations

from typing import Any, Final

import orjson

EVENTS: Final = "text/event-stream"


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of an answer."""
    return b"data: " + orjson.dumps({"event": kind, **fields}) + b"\n\n"
