"""Errors of responses that have begun: in the response itself, and in an answer for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from modelhost.errors import HostFault, ModelhostError
from modelhost.exchange.sse import DONE_EVENT
from modelhost.http.errors import STATUS, error_answer, error_object
from modelhost.http.exchange import DoorFormat
from modelhost.http.responses.items import Item

MESSAGES: Final = "messages"
INPUT: Final = "input"
STATUSES: Final[Mapping[str, int]] = {kind.code: status for kind, status in STATUS.items()}


def error_in(error: ModelhostError) -> Item:
    """Return ``error`` as the field of a response: code and message as OpenAI has them, and the host's fields."""
    fields: Item = error_object(error)["error"]
    return {name: fields.pop(name) for name in ("code", "message")} | fields


def name_as_sent(error: ModelhostError) -> None:
    """Have ``error``, if it is about the messages that the items became, name the field that the client sent."""
    if error.param is not None and (error.param == MESSAGES or error.param.startswith(f"{MESSAGES}[")):
        error.message = error.message.replace(error.param, INPUT, 1)
        error.param = INPUT


def status_of(code: str) -> int:
    """Return the status of an answer for a response that failed with ``code``."""
    return STATUSES.get(code, STATUSES[HostFault.code])


def failure_answer(error: Item) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Return status, body and headers of an answer for a response that failed with ``error``."""
    body = orjson.dumps({"error": error}, default=str)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return status_of(error["code"]), body, headers


def error_block(error: ModelhostError, sequence_number: int = 0) -> bytes:
    """Return ``error`` as the last event of a stream whose response cannot tell of it."""
    return b"event: error\ndata: " + orjson.dumps(error_event(error, sequence_number), default=str) + b"\n\n"


def error_event(error: ModelhostError, sequence_number: int) -> dict[str, Any]:
    """Return ``error`` as an event: its fields as OpenAI has them, and in an object, as Open Responses has them."""
    fields = error_in(error)
    flat = {name: value for name, value in fields.items() if name != "type"}
    return {"type": "error", "sequence_number": sequence_number, **flat, "error": fields}


FORMAT: Final = DoorFormat(error_answer=error_answer, error_block=error_block, end=DONE_EVENT)
