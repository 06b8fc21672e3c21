"""Keeps what is known of models that are not loaded: a look at their files, again when those have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from modelhost.models.file_stamps import are_current
from modelhost.models.hosted import HostedModel
from modelhost.models.outlook import Outlook, look
from modelhost.models.registry import ModelEntry
from modelhost.rounds import guarded

TASK = "looking at the files of models"
LONGEST_WAIT_SECONDS = 2.0
"""For which somebody who wants to know waits: whether PyTorch finds a GPU takes longer, where there is one."""


class Survey:
    """Looks at the files of ``models``, in a thread; the one writer of :attr:`HostedModel.outlook` beside who loads."""

    def __init__(self, models: Mapping[str, HostedModel], look_at: Callable[[ModelEntry], Outlook] = look) -> None:
        self._models = models
        self._look_at = look_at
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
                outlook = await asyncio.to_thread(self._look_at, entry)
                if model.entry is entry and model.resolved is resolved:
                    model.outlook = outlook


def _stale(models: Sequence[HostedModel]) -> list[HostedModel]:
    return [model for model in models if not _is_current(model)]


def _is_current(model: HostedModel) -> bool:
    is_sound = model.outlook is None or model.outlook.error is None
    known = model.known
    return is_sound and known is not None and are_current(known.stamps)
