"""The progress of downloads, and downloads that several clients share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from modelhost.background import cancel_and_wait
from modelhost.errors import ShuttingDown
from modelhost.models.hub.repository_files import Format

OnFormat = Callable[[Format], object]
"""Called with the format of a model before any of its files is transferred; what it raises ends the download."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProgress:
    """How far the download of one file is; ``part`` of ``parts`` counts from 1."""

    file: str
    done_bytes: int
    total_bytes: int
    part: int
    parts: int
    earlier_bytes: int = 0
    """Of the parts before this one."""
    all_bytes: int = 0
    """Of all parts; 0 is those of this file."""
    sha256: str | None = None
    """Of the file, where the hub says it."""

    @property
    def fraction(self) -> float:
        """The share of all parts that has arrived, from 0 to 1."""
        return (self.earlier_bytes + self.done_bytes) / max(self.all_bytes or self.total_bytes, 1)


class DownloadProgress(Protocol):
    """Called at each step; an exception from it ends the download, and what has arrived is kept."""

    def __call__(self, progress: FileProgress) -> None: ...


class StoppableProgress:
    """Passes progress on to ``on_progress``, and can end the download, whose thread cannot be cancelled."""

    def __init__(self, on_progress: DownloadProgress | None) -> None:
        self._on_progress = on_progress
        self._is_stopped = False

    def stop(self) -> None:
        """End the download at its next step; what has arrived is kept."""
        self._is_stopped = True

    def __call__(self, progress: FileProgress) -> None:
        if self._is_stopped:
            raise ShuttingDown("The host was stopped while it downloaded the model.")
        if self._on_progress is not None:
            self._on_progress(progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSource:
    """Where to download from and to; ``None`` is what huggingface_hub's variables say."""

    token: str | None = None
    endpoint: str | None = None
    cache_dir: Path | None = None
    retry_wait_seconds: float = 1.0


T = TypeVar("T")
Work = Callable[[DownloadProgress], Coroutine[Any, Any, T]]
"""Downloads, and reports its progress, maybe from another thread; cancelling it ends the download."""
STEP: Final = 0.01
"""The share of the whole between two reports of progress."""


class _Download:
    def __init__(self) -> None:
        self.listeners: list[DownloadProgress] = []
        self.task: asyncio.Task[Any] | None = None
        self._reported: FileProgress | None = None

    def add(self, listener: DownloadProgress) -> None:
        """Report to ``listener`` too, beginning with the present progress."""
        self.listeners.append(listener)
        if self._reported is not None:
            listener(self._reported)

    def report(self, progress: FileProgress) -> None:
        """Report to all listeners, at most once for each step."""
        last = self._reported
        if last is not None and last.file == progress.file and progress.fraction < min(1, last.fraction + STEP):
            return
        self._reported = progress
        for listener in tuple(self.listeners):
            listener(progress)


class SharedDownloads:
    """The downloads that are under way, by what they bring."""

    def __init__(self) -> None:
        self._downloads: dict[Hashable, _Download] = {}
        self._is_stopping = False

    async def join(self, key: Hashable, work: Work[T], on_progress: DownloadProgress) -> T:
        """Return the result of ``work``, or of the download of the same ``key`` that is under way.

        A cancelled caller leaves the download to the others; the last one ends it.

        Raises:
            ShuttingDown: the host is being stopped.
            ModelhostError: as ``work`` does.
        """
        if self._is_stopping:
            raise ShuttingDown("The host is being stopped.")
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
        """End all of them; their waiters get :class:`ShuttingDown`."""
        self._is_stopping = True
        await cancel_and_wait(*(download.task for download in self._downloads.values()))

    def _begin(self, key: Hashable, work: Work[T]) -> _Download:
        download = _Download()
        download.task = asyncio.create_task(work(download.report), name=f"downloading {key}")
        download.task.add_done_callback(_note_error)
        return download

    def _end(self, key: Hashable, download: _Download) -> None:
        assert download.task is not None
        download.task.cancel()  # nothing, if it has brought what was wanted
        if self._downloads.get(key) is download:
            del self._downloads[key]


def _note_error(task: asyncio.Task[Any]) -> None:
    """Retrieve an error, so that asyncio does not log it if every waiter has just left."""
    if not task.cancelled():
        task.exception()


async def _result(download: _Download) -> Any:
    task = download.task
    assert task is not None
    await asyncio.wait({task})
    if task.cancelled():
        raise ShuttingDown("The host is being stopped.")
    return task.result()
