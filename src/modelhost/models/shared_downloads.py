"""Downloads that several clients may want at once: each is done once, and ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, TypeVar

from modelhost.models import refusals
from modelhost.models.download import DownloadProgress, FileProgress

T = TypeVar("T")
Work = Callable[[DownloadProgress], Coroutine[Any, Any, T]]
"""Downloads, and tells how far it is, maybe from another thread; being cancelled ends it."""
STEP: Final = 0.01
"""Of the whole: what has arrived between two steps that are told."""


class _Download:
    """One download, and whom it is told to."""

    def __init__(self) -> None:
        self.listeners: list[DownloadProgress] = []
        self.task: asyncio.Task[Any] | None = None
        self._told: FileProgress | None = None

    def add(self, listener: DownloadProgress) -> None:
        """Tell ``listener`` too, first how far it is."""
        self.listeners.append(listener)
        if self._told is not None:
            listener(self._told)

    def tell(self, progress: FileProgress) -> None:
        """Tell those who wait, in steps that can be seen."""
        told = self._told
        if told is not None and told.file == progress.file and progress.fraction < min(1, told.fraction + STEP):
            return
        self._told = progress
        for listener in tuple(self.listeners):
            listener(progress)


class SharedDownloads:
    """The downloads that are under way, by what they bring."""

    def __init__(self) -> None:
        self._downloads: dict[Hashable, _Download] = {}
        self._is_stopping = False

    async def join(self, key: Hashable, work: Work[T], on_progress: DownloadProgress) -> T:
        """Return what ``work`` gives, or what one of the same ``key`` does that is at work already.

        Who is cancelled leaves the others their download; the last one ends it.

        Raises:
            ShuttingDown: the host is being stopped.
            ModelhostError: as ``work`` does.
        """
        if self._is_stopping:
            raise refusals.shutting_down()
        download = self._downloads.get(key)
        if download is None:
            download = self._downloads[key] = self._begin(key, work)
        download.add(on_progress)
        try:
            result: T = await _result(download)
            return result
        finally:
            download.listeners.remove(on_progress)
            if not download.listeners:
                self._end(key, download)

    async def stop(self) -> None:
        """End all of them; who waits is told so."""
        self._is_stopping = True
        tasks = [download.task for download in self._downloads.values() if download.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, key: Hashable, work: Work[T]) -> _Download:
        download = _Download()
        download.task = asyncio.create_task(work(download.tell), name=f"downloading {key}")
        download.task.add_done_callback(_note_error)
        return download

    def _end(self, key: Hashable, download: _Download) -> None:
        assert download.task is not None
        download.task.cancel()  # nothing, if it has brought what was wanted
        if self._downloads.get(key) is download:
            del self._downloads[key]


def _note_error(task: asyncio.Task[Any]) -> None:
    """Have an error told to those who wait, and not to the log if they left in that moment."""
    if not task.cancelled():
        task.exception()


async def _result(download: _Download) -> Any:
    task = download.task
    assert task is not None
    await asyncio.wait({task})
    if task.cancelled():
        raise refusals.shutting_down()
    return task.result()
