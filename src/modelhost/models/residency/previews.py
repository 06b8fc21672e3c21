"""What models that are not loaded will be: read from their files beforehand, again when those have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from modelhost.errors import ModelhostError
from modelhost.models.files.memory_pools import Bytes
from modelhost.models.files.model_files import are_current
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency import refusals
from modelhost.models.residency.hosted import HostedModel, Preview
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.planner import plan
from modelhost.models.residency.record import ModelRecord
from modelhost.models.resolve.finding import resolved_as_found
from modelhost.models.resolve.resolve import files_here
from modelhost.rounds import guarded


def inspect_files(entry: ModelEntry) -> Preview:
    """Return what the files of ``entry`` tell; nothing is downloaded or started. Blocks: call it in a thread."""
    resolved = None
    try:
        located = files_here(entry.settings)
        if located is not None:
            resolved, _ = resolved_as_found(entry, located)
            resolved.engine.launch(resolved.spec, "")  # which refuses what the engine cannot honour
    except ModelhostError as error:
        return Preview(resolved=resolved, error=error)
    return Preview(resolved=resolved)


def no_room(record: ModelRecord, need: Bytes, ledger: Ledger) -> ModelhostError | None:
    """Return why a model that needs ``need`` does not fit, whoever may be unloaded; ``None`` if it does."""
    residents = [
        resident
        for other in ledger.records.values()
        if other is not record and (resident := other.resident()) is not None
    ]
    found = plan(need, ledger.budget, residents)
    if not found.missing:
        return None
    return refusals.insufficient(record, found, need, {name: ledger.record(name).charge for name in found.holders})


TASK = "looking at the files of models"
LONGEST_WAIT_SECONDS = 2.0
"""For which somebody who wants to know waits: whether PyTorch finds a GPU takes longer, where there is one."""


class Previews:
    """Looks at the files of ``models``, in a thread; the one writer of :attr:`HostedModel.outlook` beside who loads."""

    def __init__(
        self, models: Mapping[str, HostedModel], inspect: Callable[[ModelEntry], Preview] = inspect_files
    ) -> None:
        self._models = models
        self._check = inspect
        self._task: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Have each model that is not loaded known as its files are now; after a moment return with what is known.

        What could not be read is looked at again each time, since what mends it may be anywhere; the rest when its
        files are others. Those who come at the same time share one look.
        """
        if all(model.worker is not None for model in self._models.values()):
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refresh(), name=TASK)
        await asyncio.wait([self._task], timeout=LONGEST_WAIT_SECONDS)

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _refresh(self) -> None:
        unloaded = [model for model in self._models.values() if model.worker is None]
        for model in await asyncio.to_thread(_stale, unloaded):
            entry, resolved = model.entry, model.resolved
            with guarded(TASK, model=model.name):
                preview = await asyncio.to_thread(self._check, entry)
                if model.entry is entry and model.resolved is resolved:
                    model.preview = preview


def _stale(models: Sequence[HostedModel]) -> list[HostedModel]:
    return [model for model in models if not _is_current(model)]


def _is_current(model: HostedModel) -> bool:
    is_sound = model.preview is None or model.preview.error is None
    known = model.known
    return is_sound and known is not None and are_current(known.stamps)
