"""Reads what the engines of a host's workers report of themselves, while they have work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from modelhost.background import cancel_and_wait, repeat
from modelhost.errors import ModelhostError
from modelhost.logs import get_logger
from modelhost.monitor.engine_reports import EngineReport

if TYPE_CHECKING:
    from modelhost.monitor.monitor import Monitor

log = get_logger(__name__)

READ_SECONDS: Final = 5.0
"""How often workers are read; each for that long at most."""


class ReportingWorker(Protocol):
    @property
    def open_requests(self) -> int: ...

    @property
    def last_output_at(self) -> float: ...

    async def report(self) -> EngineReport | None:
        """Return what its engine reports; ``None``: nothing. Raises a :class:`ModelhostError`."""


Workers = Callable[[], Iterable[tuple[str, ReportingWorker]]]
"""Returns the workers that are loaded, each with the main name of its model."""


@dataclass(slots=True, kw_only=True)
class _Known:
    worker: ReportingWorker
    last_output_at: float
    report: EngineReport


class EngineMeters:
    """Gives a monitor what ``workers`` report."""

    def __init__(self, monitor: Monitor, workers: Workers) -> None:
        self._monitor = monitor
        self._workers = workers
        self._known: dict[str, _Known] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        reading = repeat("reading engines", self.read, pause_seconds=READ_SECONDS)
        self._task = asyncio.create_task(reading, name="reading engines")

    async def stop(self) -> None:
        await cancel_and_wait(self._task)

    async def read(self) -> None:
        """Read the workers that have had work since the last time."""
        loaded = dict(self._workers())
        for name in self._known.keys() - loaded.keys():
            del self._known[name]
            self._monitor.engine_reports.pop(name, None)
        await asyncio.gather(*(self._read(name, worker) for name, worker in loaded.items()))

    async def _read(self, name: str, worker: ReportingWorker) -> None:
        known = self._known.get(name)
        before = known.report if known is not None and known.worker is worker else None
        if known is not None and before is not None and not _has_worked(known):
            return
        last_output_at = worker.last_output_at
        try:
            async with asyncio.timeout(READ_SECONDS):
                report = await worker.report()
        except (ModelhostError, TimeoutError) as error:
            log.debug("engine_report_failed", model=name, error=str(error))
            return
        if report is None:
            return
        self._known[name] = _Known(worker=worker, last_output_at=last_output_at, report=report)
        self._monitor.engine_reported(name, report, before)


def _has_worked(known: _Known) -> bool:
    return bool(known.worker.open_requests) or known.worker.last_output_at != known.last_output_at
