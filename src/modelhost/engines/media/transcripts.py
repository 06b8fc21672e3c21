"""What workers that transcribe have in common.

A request is a line of JSON and the file; the answer is events: ``info``, each ``segment``, and ``done``.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from modelhost.engines.worker.asgi import read_json

PATH: Final = "/v1/audio/transcriptions"
EVENTS: Final = "text/event-stream"


def read_request(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the fields of a request, and the file; raises ErrorResponse."""
    line, _, data = raw.partition(b"\n")
    return read_json(line), data


def event(kind: str, **fields: Any) -> bytes:
    """Return an event of the answer."""
    return b"data: " + orjson.dumps({"event": kind, **fields}) + b"\n\n"
