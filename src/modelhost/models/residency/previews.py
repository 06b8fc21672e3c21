"""What models that are not loaded will be: read from their files beforehand, again when those have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from modelhost.background import cancel_and_wait, log_failures
from modelhost.errors import ModelhostError
from modelhost.models.files.model_files import are_unchanged
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.residency.hosted import HostedModel, Preview
from modelhost.models.resolve.finding import resolve_found
from modelhost.models.resolve.resolve import files_here


def inspect_files(entry: ModelEntry) -> Preview:
    """Return what the files of ``entry`` say; nothing is downloaded or started. Blocks: call it in a thread."""
    resolved = None
    try:
        located = files_here(entry.settings)
        if located is not None:
            resolved, _ = resolve_found(entry, located)
            resolved.engine.launch(resolved.spec, "")  # which refuses what the engine cannot honour
    except ModelhostError as error:
        return Preview(resolved=resolved, error=error)
    return Preview(resolved=resolved)


TASK = "looking at the files of models"
LONGEST_WAIT_SECONDS = 2.0
"""How long a caller waits: finding out whether PyTorch finds a GPU takes longer, where there is one."""


class Previews:
    """Inspects the files of ``models`` that are not loaded, in a thread. ``on_preview`` takes what each has shown."""

    def __init__(
        self,
        models: Mapping[str, HostedModel],
        on_preview: Callable[[HostedModel, Preview], None],
        inspect: Callable[[ModelEntry], Preview] = inspect_files,
    ) -> None:
        self._models = models
        self._on_preview = on_preview
        self._inspect = inspect
        self._task: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Inspect the files of each model that is not loaded; return when that is done, or after a moment.

        Files that could not be read are inspected again each time, since what repairs them may be anywhere; the rest
        when they have changed. Concurrent callers share one inspection.
        """
        if all(model.worker is not None for model in self._models.values()):
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refresh(), name=TASK)
        await asyncio.wait([self._task], timeout=LONGEST_WAIT_SECONDS)

    async def stop(self) -> None:
        """End the inspection that is under way."""
        await cancel_and_wait(self._task)

    async def _refresh(self) -> None:
        unloaded = [model for model in self._models.values() if model.worker is None]
        for model in await asyncio.to_thread(lambda: [each for each in unloaded if not _is_current(each)]):
            entry, resolved = model.entry, model.resolved
            with log_failures(TASK, model=model.name):
                preview = await asyncio.to_thread(self._inspect, entry)
                if model.entry is entry and model.resolved is resolved:
                    self._on_preview(model, preview)


def _is_current(model: HostedModel) -> bool:
    is_sound = model.preview is None or model.preview.error is None
    known = model.known
    return is_sound and known is not None and are_unchanged(known.stamps)
