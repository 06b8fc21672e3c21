"""A host as its clients see it, whether it is in this process or reached over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress

if TYPE_CHECKING:
    from modelhost.operations.perform import OperationCall

Body = Mapping[str, Any]
"""A chat request in the words of OpenAI's API; whether it is to be streamed is not in it."""


class HostClient(Protocol):
    """Runs operations and chats. All methods raise the :class:`ModelhostError` of the host, or that there is none."""

    async def models(self) -> Sequence[str]:
        """Return the names of the models that can be asked, the active one first."""

    async def run(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        """Run an operation; ``on_progress`` is told how far one is that tells so."""

    def chat(self, body: Body, caller: Caller = NOBODY) -> AbstractAsyncContextManager[Pieces]:
        """Answer a chat piece by piece; leaving the context cancels the generation.

        Raises:
            ModelhostError: on entering, or out of the iterator in the middle of the answer.
        """

    async def complete(self, body: Body) -> Mapping[str, Any]:
        """Return the whole answer to a chat, as an object of OpenAI's API."""

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        """Return what requests to ``model`` (without a name: the active one) get where they are silent.

        Raises:
            ModelNotFound: as its name says.
        """

    def performing(self, call: OperationCall) -> AbstractAsyncContextManager[None]:
        """Have what is inside done as one ``call``: measured, and where the host is here admitted and noted.

        Raises:
            ModelhostError: it is not admitted.
        """
