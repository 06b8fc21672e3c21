"""What answers the calls of an MCP server: a host in this process, or one that is reached over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces
from modelhost.exchange.requests import ChatRequest
from modelhost.logs import get_logger
from modelhost.operations.operation import OnProgress, Operation, P, R, ignored

log = get_logger(__name__)

Face = Literal["mcp-http", "mcp-stdio"]
"""The way by which calls come in, as the audit log names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool, or one reading of a resource, that is over."""

    operation: str
    """The name of the tool; ``read-resource`` of a reading."""
    arguments: Mapping[str, Any]
    """Those that may be kept: neither contents nor secrets."""
    outcome: str
    """``ok``, or the code of the error."""
    seconds: float
    model: str | None = None
    request_id: str | None = None
    actor: str | None = None
    """Who called, if the transport knows it; ``None``: whoever the backend belongs to."""


def log_call(call: Call, face: Face, model: str | None) -> None:
    """Have the log say that a call is over; ``model`` by its main name."""
    log.info(
        "mcp_call",
        operation=call.operation,
        model=model,
        outcome=call.outcome,
        face=face,
        seconds=round(call.seconds, 4),
    )


class Backend(Protocol):
    """Runs operations and chats."""

    async def run(self, operation: Operation[Any, P, R], parameters: P, on_progress: OnProgress = ignored) -> R:
        """Run an operation; raises the :class:`ModelhostError` that it raises."""

    def chat(self, request: ChatRequest, caller: Caller = NOBODY) -> AbstractAsyncContextManager[Pieces]:
        """Answer a chat piece by piece; leaving the context cancels the generation.

        Raises:
            ModelhostError: on entering, or out of the iterator in the middle of the answer.
        """

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        """Return what requests to ``model`` (without a name: the active one) get where they are silent.

        Raises:
            ModelNotFound: as its name says.
        """

    def note(self, call: Call) -> None:
        """Keep a call in the audit log, where this is the place for it; never blocks and never raises."""
