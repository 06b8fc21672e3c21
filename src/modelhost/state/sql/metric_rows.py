"""The history of metrics, within one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from modelhost.monitor.history import StoredFrame
from modelhost.state.sql.tables import insert_for, metrics

T = TypeVar("T")
KEY = (metrics.c.source, metrics.c.step, metrics.c.start, metrics.c.writer)


class MetricRows:
    """The stored frames; see :class:`modelhost.monitor.history.HistoryRows`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, frames: Sequence[StoredFrame]) -> None:
        if not frames:
            return
        insert = insert_for(self._connection, metrics)
        put = insert.on_conflict_do_update(index_elements=KEY, set_={"content": insert.excluded.content})
        # Always in one order: two hosts of one source could otherwise wait for each other.
        self._connection.execute(put, sorted(map(asdict, frames), key=lambda row: (row["step"], row["start"])))

    def frames(self, *, step: int, start: int, end: int, source: str) -> Sequence[tuple[int, bytes]]:
        wanted = (
            select(metrics.c.start, metrics.c.content)
            .where(metrics.c.source == source, metrics.c.step == step)
            .where(metrics.c.start >= start, metrics.c.start < end)
        )
        return [(row.start, row.content) for row in self._connection.execute(wanted)]

    def newest(self, *, step: int, source: str) -> int | None:
        wanted = select(func.max(metrics.c.start)).where(metrics.c.source == source, metrics.c.step == step)
        newest: int | None = self._connection.execute(wanted).scalar_one()
        return newest

    def sources(self) -> Sequence[str]:
        found: list[str] = []
        # One after the other, by the index: DISTINCT would read all rows.
        while source := self._source_after(found[-1] if found else ""):
            found.append(source)
        return found

    def _source_after(self, name: str) -> str | None:
        wanted = select(func.min(metrics.c.source)).where(metrics.c.source > name)
        found: str | None = self._connection.execute(wanted).scalar_one()
        return found

    def purge(self, *, step: int, before: int) -> None:
        for source in self.sources():
            old = (metrics.c.source == source, metrics.c.step == step, metrics.c.start < before)
            self._connection.execute(delete(metrics).where(*old))

    def apart(self, work: Callable[[], T]) -> T:
        if not self._connection.dialect.is_async:
            return work()  # the transaction has a thread of its own
        result: T = await_only(asyncio.to_thread(work))
        return result
