"""The waits of those who have requested a load."""

from __future__ import annotations

import asyncio
from typing import Final

from modelhost.models.files.memory_pools import memory_in
from modelhost.models.residency import refusals
from modelhost.models.residency.changes import ModelChanges
from modelhost.models.residency.hosted import HostedModel, Reload
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.record import ModelRecord, Phase
from modelhost.models.residency.status import LoadEstimate, State

SECONDS_TO_FIND_FILES: Final = 2.0
"""How long a load that is not waited for may take to say what it needs; downloads take longer."""


class LoadWaits:
    """Follows loads by what the ledger's records say after each change."""

    def __init__(self, ledger: Ledger, changes: ModelChanges) -> None:
        self._ledger = ledger
        self._changes = changes
        self.is_stopping = False
        """The host is being stopped: nobody goes on to wait."""

    async def estimate(self, model: HostedModel, reload: Reload | None, *, wait: bool) -> LoadEstimate:
        """Return what a load that has been requested takes: at once, or with ``wait`` when the model is ready.

        ``reload`` is the attempt to load it with another configuration, if that was requested.

        Raises:
            InsufficientMemory: it cannot fit.
            ModelhostError: with ``wait``, why it could not be loaded; without, why its files cannot be used.
        """
        record = self._ledger.record(model.name)
        if wait:
            await self._until_settled(model, record, reload)
            await self._until_loaded(model, record)
        else:
            await self._until_files_found(model, record)
            refusal = reload.error if reload is not None and reload.error is not None else record.refusal
            if refusal is not None:
                raise refusal
        return LoadEstimate(
            model=model.name,
            state=record.state,
            estimated_seconds=model.estimated_load_seconds,
            need_bytes=None if record.need is None else memory_in(record.need),
            position=self._ledger.queue_position(model.name),
        )

    async def _until_settled(self, model: HostedModel, record: ModelRecord, reload: Reload | None) -> None:
        while reload is not None and not reload.is_over:
            self._check_goes_on(model, record)
            await self._changes.next_of(model)
        if reload is not None and reload.error is not None:
            raise reload.error

    async def _until_loaded(self, model: HostedModel, record: ModelRecord) -> None:
        while record.state not in (State.READY, State.BUSY):
            self._check_goes_on(model, record)
            if record.has_failed:
                assert record.last_error is not None
                raise record.last_error
            if record.phase is Phase.UNLOADED and not record.retry_at and not record.is_wanted:
                raise record.last_error or refusals.unloaded(record)
            await self._changes.next_of(model)

    async def _until_files_found(self, model: HostedModel, record: ModelRecord) -> None:
        try:
            async with asyncio.timeout(SECONDS_TO_FIND_FILES):
                while record.phase is Phase.FETCHING and not self.is_stopping:
                    await self._changes.next_of(model)
        except TimeoutError:
            return  # it is being downloaded: what it needs is not known yet

    def _check_goes_on(self, model: HostedModel, record: ModelRecord) -> None:
        if self.is_stopping:
            raise refusals.shutting_down()
        if self._ledger.records.get(model.name) is not record:
            raise refusals.removed(model.name)
