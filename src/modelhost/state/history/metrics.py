"""The history of metrics in the database; what is in it is the monitor's (:mod:`modelhost.monitor.history`)."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar
from zlib import crc32

from modelhost.monitor.history import HistoryRows, StoredFrame
from modelhost.state.history.database import HistoryDatabase
from modelhost.state.history.statements import Statements

PUT: Final = (
    "INSERT INTO metrics (source, step, start, writer, content) VALUES (:source, :step, :start, :writer, :content) "
    "ON CONFLICT (source, step, start, writer) DO UPDATE SET content = excluded.content"
)
FRAMES: Final = (
    "SELECT start, content FROM metrics WHERE source = :source AND step = :step AND start >= :first AND start < :last"
)
NEWEST: Final = "SELECT max(start) FROM metrics WHERE source = :source AND step = :step"
NEXT_SOURCE: Final = "SELECT min(source) FROM metrics WHERE source > :name"
PURGE: Final = "DELETE FROM metrics WHERE source = :source AND step = :step AND start < :before"
T = TypeVar("T")


class MetricRows:
    """The stored frames; see :class:`modelhost.monitor.history.HistoryRows`."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def put(self, frames: Sequence[StoredFrame]) -> None:
        if not frames:
            return
        # Always in one order: two hosts of one source could otherwise wait for each other.
        self._statements.change(PUT, sorted(map(asdict, frames), key=lambda row: (row["step"], row["start"])))

    def frames(self, *, step: int, start: int, end: int, source: str) -> Sequence[tuple[int, bytes]]:
        found = self._statements.query(FRAMES, source=source, step=step, first=start, last=end)
        return [(start, content) for start, content in found]

    def newest(self, *, step: int, source: str) -> int | None:
        newest: int | None = self._statements.query(NEWEST, source=source, step=step)[0][0]
        return newest

    def sources(self) -> Sequence[str]:
        found: list[str] = []
        # One after the other, by the index: DISTINCT would read all rows.
        while source := self._source_after(found[-1] if found else ""):
            found.append(source)
        return found

    def _source_after(self, name: str) -> str | None:
        found: str | None = self._statements.query(NEXT_SOURCE, name=name)[0][0]
        return found

    def purge(self, *, step: int, before: int) -> None:
        old = [{"source": source, "step": step, "before": before} for source in self.sources()]
        if old:
            self._statements.change(PURGE, old)

    def apart(self, work: Callable[[], T]) -> T:
        return self._statements.apart(work)


class MetricStore:
    """A :class:`modelhost.monitor.history.HistoryStore`."""

    def __init__(self, database: HistoryDatabase, data_dir: Path) -> None:
        self._database = database
        self._data_dir = data_dir

    @property
    def source(self) -> str:
        """The name of this host among those of a database, the same after a restart: machine and data directory."""
        return f"{platform.node()[:64]}-{crc32(str(self._data_dir).encode()):08x}"

    @property
    def is_open(self) -> bool:
        return self._database.is_open

    async def read(self, work: Callable[[HistoryRows], T]) -> T:
        return await self._database.read(lambda statements: work(MetricRows(statements)))

    async def write(self, work: Callable[[HistoryRows], T]) -> T:
        return await self._database.write(lambda statements: work(MetricRows(statements)))
