"""Requests over HTTP without a handshake, as ``curl`` sends them: one request, one JSON answer.

Neither a session nor an ``Accept`` or ``Content-Type`` header is required, and neither ``jsonrpc`` nor ``id`` need be
there. Requests of clients that keep to the protocol are the SDK's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import mcp_types as types
import orjson
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import modern_error_data, serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError
from starlette.requests import Request

from modelhost import json_text
from modelhost.mcp_servers import lenient
from modelhost.mcp_servers.lenient import GREETING
from modelhost.mcp_servers.stdio_log import mapping

Json = dict[str, Any]

VERSION_HEADER: Final = "mcp-protocol-version"
SESSION_HEADER: Final = "mcp-session-id"


def is_plain(headers: Mapping[str, str], message: Any) -> bool:
    """Whether ``message`` is a request without a handshake and without the modern protocol's metadata."""
    version = headers.get(VERSION_HEADER)
    if SESSION_HEADER in headers or (version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS):
        return False
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        return False
    method, params = message["method"], mapping(message.get("params"))
    if method.startswith("notifications/") or types.PROTOCOL_VERSION_META_KEY in mapping(params.get("_meta")):
        return False
    return method != "initialize" or not GREETING.keys() <= params.keys()


def find_problem(headers: Mapping[str, str], message: Any) -> str | None:
    """Return why ``message`` is invalid in the handshake era, as the end of a sentence; ``None`` if it is valid.

    The SDK would answer with pydantic's report on every form that a message may have. Of the modern era it has words.
    """
    version = headers.get(VERSION_HEADER)
    if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
        return None
    if problem := lenient.find_problem(message):
        return problem
    try:
        types.jsonrpc_message_adapter.validate_python(message, by_name=False)
    except ValidationError:
        return "it is no message of JSON-RPC 2.0"
    return None


async def answer(server: Server[Any], lifespan: Any, message: Json, request: Request) -> bytes:
    """Return the answer of ``server`` to a plain request, as JSON."""
    key, method = message.get("id"), message["method"]
    params = message.get("params")
    if method == "initialize":
        params = {**GREETING, **mapping(params)}
    context = _OneAnswer(
        transport=TransportContext(kind="streamable-http", can_send_request=False, headers=request.headers),
        request_id=key if isinstance(key, str | int) else 0,
        message_metadata=ServerMessageMetadata(request_context=request),
    )
    version = request.headers.get(VERSION_HEADER, LATEST_HANDSHAKE_VERSION)
    connection = Connection.from_envelope(version, None, None)
    try:
        result = await serve_one(server, context, method, params, connection=connection, lifespan_state=lifespan)
    except Exception as error:  # noqa: BLE001 (reported here, and logged where it was raised)
        return error_answer(key, modern_error_data(error))
    return json_text.encode({"jsonrpc": "2.0", "id": key, "result": result})


def error_answer(key: Any, error: types.ErrorData) -> bytes:
    """Return ``error`` as the answer to the request ``key``."""
    return orjson.dumps({"jsonrpc": "2.0", "id": key, "error": error.model_dump(mode="json", exclude_none=True)})


@dataclass(kw_only=True)
class _OneAnswer:
    transport: TransportContext
    request_id: types.RequestId
    message_metadata: ServerMessageMetadata
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    can_send_request: bool = False

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Drop a notification."""

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Drop a progress report."""
