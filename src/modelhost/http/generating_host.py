"""What the way of every token needs of a host."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from modelhost.config.settings import Settings
from modelhost.exchange.caller import Caller
from modelhost.exchange.requests import AnyRequest
from modelhost.exchange.tasks import Task
from modelhost.exchange.whole_answer import WholeAnswer
from modelhost.models.residency.scheduler import OnQueued

if TYPE_CHECKING:
    from modelhost.chat.answering import ChatOrCompletion, OpenedAnswer


class ServedModel(Protocol):
    """A model of the host."""

    @property
    def name(self) -> str:
        """Its main name."""

    @property
    def context_length(self) -> int | None: ...


class GeneratingHost(Protocol):
    """The host as requests for answers see it. All methods raise ``ModelhostError``."""

    @property
    def settings(self) -> Settings: ...

    def find(self, name: str | None) -> ServedModel:
        """Return the model called ``name``, without a name the active one; raises ``ModelNotFound``."""

    def open(
        self, request: ChatOrCompletion, caller: Caller, on_queued: OnQueued | None, *, may_relay: bool
    ) -> AbstractAsyncContextManager[OpenedAnswer]:
        """Answer a request piece by piece, as bytes where they may be relayed."""

    async def whole(self, request: ChatOrCompletion, caller: Caller, on_queued: OnQueued | None) -> WholeAnswer:
        """Answer a request at once."""

    async def perform(
        self, task: Task, request: AnyRequest, caller: Caller, on_queued: OnQueued | None
    ) -> dict[str, Any]:
        """Do a task and return its answer as one object of OpenAI's API."""
