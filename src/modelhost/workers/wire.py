"""What goes over the wire to a worker: bodies of requests, and the server-sent events of streamed answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import orjson
from msgspec.structs import replace

from modelhost import lazy
from modelhost.errors import InvalidRequest
from modelhost.exchange.payloads import Form, Payload, Raw

JSON: Final = "application/json"


def encode_payload(payload: Payload) -> tuple[str, bytes]:
    """Return the media type and the bytes of ``payload``.

    Raises:
        InvalidRequest: it is JSON that is nested more than 254 levels deep.
    """
    if isinstance(payload, Raw):
        return payload.content_type, payload.data
    if isinstance(payload, Form):
        return _multipart(payload)
    return JSON, _json(payload)


def with_model_name(payload: Payload, model: str) -> Payload:
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
    files = {name: (file.name, file.data, file.content_type) for name, file in form.files.items()}
    # Files make it a multipart form; without any it would be of another type.
    fields = {name: (None, text.encode()) for name, text in form.fields.items()}
    request = lazy.httpx2.Request("POST", "http://worker/", files={**fields, **files})
    return request.headers["Content-Type"], request.read()


END_OF_EVENT: Final = b"\n\n"
DATA, DONE = b"data: ", b"[DONE]"


class Body(Protocol):
    """The body of an answer, read as it arrives; ``b""`` at its end."""

    async def read(self) -> bytes: ...


class EventBlocks:
    """A streamed answer, read in blocks of whole events."""

    def __init__(self, body: Body, received: Callable[[bytes], bytes] | None = None) -> None:
        """``received`` is applied to each block, and may return nothing."""
        self._body = body
        self._received = received
        self._rest = b""

    async def read(self) -> bytes:
        """Return the next block, or ``b""`` at the end of the answer."""
        while block := await self._body.read():
            if self._rest or not block.endswith(END_OF_EVENT):
                block = self._whole_events(block)
            if block and (self._received is None or (block := self._received(block))):
                return block
        return b""

    def _whole_events(self, block: bytes) -> bytes:
        """Return the whole events of what has arrived so far; the rest is kept."""
        block = self._rest + block
        end = block.rfind(END_OF_EVENT) + len(END_OF_EVENT)
        if end < len(END_OF_EVENT):
            end = 0
        self._rest = block[end:]
        return block[:end]
