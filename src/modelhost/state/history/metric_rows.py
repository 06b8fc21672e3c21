"""The history of metrics, within one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final, TypeVar

from modelhost.monitor.history import StoredFrame
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
