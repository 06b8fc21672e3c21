"""What answers the calls of an MCP server: a host in this process, or one that is reached over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces
from modelhost.exchange.requests import ChatRequest
from modelhost.logs import get_logger
from modelhost.operations.operation import OnProgress, Operation, P, R, ignored
from modelhost.operations.perform import Performance

log = get_logger(__name__)


def log_call(call: Performance, model: str | None) -> None:
    """Have the log say that a call is over; ``model`` by its main name."""
    log.info(
        "mcp_call",
        operation=call.operation,
        model=model,
        outcome=call.outcome,
        face=call.caller.face,
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

    def performing(self, call: Performance) -> AbstractAsyncContextManager[None]:
        """Have what is inside done as ``call``, of a tool or of the reading of a resource: it is measured and logged,
        and where the host is here, admitted and kept in the audit log.

        Raises:
            ModelhostError: it is not admitted.
        """
