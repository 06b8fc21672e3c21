"""Tolerates deviations of MCP clients from the protocol, message by message and without I/O.

The SDK's server is strict. Existing clients send no handshake, no ``jsonrpc``, no ``id``, or an ``initialize`` without
parameters; they print lines that are no JSON; and FluidMCP reads exactly one line for each line that it writes,
whatever that line is. Command lines, templates and gateways send arguments of calls as JSON text. All of them get
their answers; for clients that follow the protocol nothing changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from modelhost.mcp_servers.stdio_log import FLUIDMCP, mapping

TOOLS_CALL: Final = "tools/call"


def parse_call_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """Return ``message`` with the arguments of a call parsed, if they came as the text of one JSON object."""
    params = message.get("params")
    if message.get("method") != TOOLS_CALL or not isinstance(params, dict):
        return message
    read = _read(params.get("arguments"))
    return {**message, "params": {**params, "arguments": read}} if isinstance(read, dict) else message


def parse_values(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``arguments`` with text parsed as JSON wherever the input ``schema`` expects another type.

    Invalid JSON stays unchanged; later validation reports it.
    """
    properties = schema.get("properties", {})
    return {name: _value(value, properties.get(name, {})) for name, value in arguments.items()}


def _value(value: Any, schema: Mapping[str, Any]) -> Any:
    if schema.get("type", "string") == "string":
        return value
    read = _read(value)
    return value if read is None else read


def _read(text: Any) -> Any:
    """Parse ``text``; ``None`` if it is no text, or no JSON."""
    if not isinstance(text, str):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
NEWEST_HANDSHAKE: Final = "2025-11-25"
MODERN_KEY: Final = "io.modelcontextprotocol/protocolVersion"
"""A key in the ``_meta`` of every request of protocol version 2026-07-28 and later, and of no other."""
LISTENING: Final = "subscriptions/listen"
"""The method of a request that never ends."""
_OWN_IDS: Final = "modelhost:"
_HANDSHAKE_ID: Final = f"{_OWN_IDS}handshake"

Json = dict[str, Any]
Era = Literal["handshake", "modern"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedLine:
    """The outcome of a line: messages for the server, an answer to the client, or both."""

    messages: tuple[Json, ...] = ()
    answer: Json | None = None
    sent: Json | None = None
    """The message as the client sent it; ``None``: the line was no message."""


class LenientSession:
    """The connection of one client, from its first message to its last."""

    def __init__(self) -> None:
        self._era: Era | None = None
        self._reads_answers_only = False
        """Clients without a handshake, and FluidMCP, take any line for the answer to their last message."""
        self._is_fluidmcp = False
        self._is_initialized = False
        self._original_ids: dict[str, Any] = {}
        self._numbers = itertools.count(1)
        self._unanswered: dict[Any, int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether all requests are answered, except those that never end."""
        return not self._unanswered

    def receive(self, line: bytes) -> ParsedLine:
        if not line.strip():
            return ParsedLine()
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return ParsedLine(answer=_error(None, PARSE_ERROR, f"Parse error: {error}"))
        if (problem := find_problem(message)) is not None:
            return ParsedLine(answer=_error(message_id(message), INVALID_REQUEST, f"Invalid Request: {problem}"))
        return replace(self._taken({**message, "jsonrpc": "2.0"}), sent=message)

    def _taken(self, message: Json) -> ParsedLine:
        if "method" not in message:
            return ParsedLine(messages=(message,))  # an answer, which the server handles
        if message["method"].startswith("notifications/") and "id" not in message:
            return self._notified(message)
        return self._requested(message)

    def refuse_long_line(self, limit: int) -> ParsedLine:
        """Answer a line that was skipped since it exceeded ``limit`` bytes."""
        return ParsedLine(
            answer=_error(None, INVALID_REQUEST, f"Invalid Request: a message of more than {limit} bytes")
        )

    def outgoing(self, message: Json) -> Json | None:
        """Return what the client gets for a message of the server; ``None``: nothing."""
        if "method" in message:
            return None if self._reads_answers_only else message
        key = message.get("id")
        if key == _HANDSHAKE_ID:
            return None
        self._settle(key)
        return {**message, "id": self._original_ids.pop(key)} if key in self._original_ids else message

    def _requested(self, message: Json) -> ParsedLine:
        message = parse_call_arguments(message)
        method, params = message["method"], message.get("params")
        is_modern = MODERN_KEY in mapping(mapping(params).get("_meta"))
        if method == "ping":  # not in the modern protocol, but some clients check with it whether a server is alive
            done = {"resultType": "complete"} if is_modern else {}
            return ParsedLine(answer={"jsonrpc": "2.0", "id": message.get("id"), "result": done})
        if method == "initialize":
            message = self._greeted(message)
        message = self._with_usable_id(message)
        if method != LISTENING:
            key = message["id"]
            self._unanswered[key] = self._unanswered.get(key, 0) + 1
        if self._era is not None:
            return ParsedLine(messages=(message,))
        self._era = "modern" if is_modern and method != "initialize" else "handshake"
        if method == "initialize" or self._era == "modern":
            return ParsedLine(messages=(message,))
        self._reads_answers_only = True
        return ParsedLine(messages=(*_handshake(), message))

    def _greeted(self, message: Json) -> Json:
        """Return ``initialize`` with its missing parameters added."""
        params = mapping(message.get("params"))
        client = params.get("clientInfo")
        self._is_fluidmcp = mapping(client).get("name") == FLUIDMCP
        self._reads_answers_only = self._is_fluidmcp
        return {
            **message,
            "params": {**GREETING, **{key: value for key, value in params.items() if value is not None}},
        }

    def _notified(self, message: Json) -> ParsedLine:
        method, is_first = message["method"], not self._is_initialized
        if method == "notifications/initialized":
            self._is_initialized = True
        elif method == "notifications/cancelled":
            self._settle(mapping(message.get("params")).get("requestId"))  # it will not be answered
        if self._is_fluidmcp and not (method == "notifications/initialized" and is_first):
            # After its first notification FluidMCP waits forever for a line after every message.
            return ParsedLine(messages=(message,), answer={"jsonrpc": "2.0", "id": None, "result": {}})
        return ParsedLine(messages=(message,))

    def _with_usable_id(self, message: Json) -> Json:
        """Return the request with an id that the SDK accepts; without one it would be a notification."""
        original = message.get("id")
        if isinstance(original, str | int):
            return message
        key = f"{_OWN_IDS}{next(self._numbers)}"
        self._original_ids[key] = original
        return {**message, "id": key}

    def _settle(self, key: Any) -> None:
        # The SDK takes "7" for 7 in these, too.
        for known in (key, _other_form(key)) if isinstance(key, str | int) else ():
            if known in self._unanswered:
                self._unanswered[known] -= 1
                if not self._unanswered[known]:
                    del self._unanswered[known]
                return


GREETING: Final[Mapping[str, Any]] = {
    "protocolVersion": NEWEST_HANDSHAKE,
    "capabilities": {},
    "clientInfo": {"name": "unknown", "version": ""},
}
"""The parameters of an ``initialize`` that has none."""


def _handshake() -> Iterable[Json]:
    yield {"jsonrpc": "2.0", "id": _HANDSHAKE_ID, "method": "initialize", "params": dict(GREETING)}
    yield {"jsonrpc": "2.0", "method": "notifications/initialized"}


def find_problem(message: Any) -> str | None:
    """Return why ``message`` is no JSON-RPC message, as the end of a sentence; ``None`` if it is valid."""
    if not isinstance(message, dict):
        return "a message is a JSON object"
    if message.get("jsonrpc", "2.0") != "2.0":
        return 'jsonrpc is "2.0"'
    if "method" in message:
        if not isinstance(message["method"], str):
            return "method is text"
        if not isinstance(message.get("params"), dict | None):
            return "params is an object"
    elif "id" not in message or not ("result" in message or "error" in message):
        return "there is no method"
    return "id is text or a number" if isinstance(message.get("id"), bool | list | dict) else None


def message_id(message: Any) -> Any:
    """Return the id for an answer to ``message``, which may be any value."""
    key = mapping(message).get("id")
    return None if isinstance(key, bool | list | dict) else key


def _other_form(key: str | int) -> str | int:
    if isinstance(key, int):
        return str(key)
    return int(key) if key.isdecimal() else key


def _error(key: Any, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": key, "error": {"code": code, "message": message}}
