"""Bodies of requests as they go to a worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from msgspec.structs import replace

from modelhost.errors import InvalidRequest
from modelhost.exchange.tasks import Form, Payload, Raw

JSON: Final = "application/json"


def encoded(payload: Payload) -> tuple[str, bytes]:
    """Return the media type of ``payload`` and its bytes.

    Raises:
        InvalidRequest: it is JSON that is nested deeper than can be written, which is 254 levels.
    """
    if isinstance(payload, Raw):
        return payload.content_type, payload.data
    if isinstance(payload, Form):
        return _multipart(payload)
    return JSON, _json(payload)


def naming(payload: Payload, model: str) -> Payload:
    """Return ``payload`` for the model of that name."""
    if isinstance(payload, Raw):
        return payload
    if isinstance(payload, Form):
        return replace(payload, fields={**payload.fields, "model": model})
    return {**payload, "model": model}


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"The body cannot be passed on: {error}.") from None


def _multipart(form: Form) -> tuple[str, bytes]:
    import httpx2  # takes its time, and few requests are forms  # noqa: PLC0415

    files = {name: (file.name, file.data, file.content_type) for name, file in form.files.items()}
    # Its files make it a multipart form; without one it would be another kind.
    fields = {name: (None, text.encode()) for name, text in form.fields.items()}
    request = httpx2.Request("POST", "http://worker/", files={**fields, **files})
    return request.headers["Content-Type"], request.read()
