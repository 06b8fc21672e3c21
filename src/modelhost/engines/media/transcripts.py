"""What workers that transcribe have in common.

A request is a line of JSON and the file; the answer is events: ``info``, each ``segment``, and ``done``.
"""

from __future__ import annotations

from typing import Any, Final

from modelhost.engines.worker.asgi import read_json

PATH: Final = "/v1/audio/transcriptions"


def read_request(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the fields of a request, and the file; raises ErrorResponse."""
    line, _, data = raw.partition(b"\n")
    return read_json(line), data
