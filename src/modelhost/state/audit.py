"""The audit log: who had what done, and how it ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence, Sized
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from modelhost.background import guarded
from modelhost.errors import DatabaseUnavailable
from modelhost.logs import get_logger
from modelhost.meters import METERS
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.records import AuditEntry

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows

MOST_WAITING: Final = 10_000
"""Entries that wait for the database; one more is lost, and counted."""
AT_ONCE: Final = 500
PURGE_SECONDS: Final = 24 * 3600.0
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
"""Between two tries to write to a database that does not work."""

_log = get_logger(__name__)


class AuditLog:
    """Written by a task of its own, in groups; its entries are forgotten after ``retention``."""

    def __init__(self, database: LazyDatabase, *, retention: timedelta) -> None:
        self._database = database
        self._retention = retention
        self._waiting: deque[AuditEntry] = deque()
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self._flushing: set[asyncio.Task[None]] = set()
        self._writer: asyncio.Task[None] | None = None
        self._is_broken = False

    def note(self, entry: AuditEntry) -> None:
        """Have ``entry`` written. Never waits and never raises.

        While the database does not work, entries wait for it; those over 10,000 are lost, and counted.
        """
        if len(self._waiting) >= MOST_WAITING:
            METERS.audit_entries_lost.inc()
            return
        self._waiting.append(entry)
        self._news.set()
        self.start()

    def start(self) -> None:
        """Write and forget entries from now on; :meth:`note` does it by itself."""
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_and_purge())

    async def entries(
        self,
        *,
        limit: int = 100,
        before: datetime | None = None,
        operation: str | None = None,
        actor: str | None = None,
        outcome: str | None = None,
    ) -> tuple[AuditEntry, ...]:
        """Return what matches, the newest first; what was noted is in it, unless the database cannot be written.

        Raises:
            DatabaseUnavailable: the database does not do its part.
        """
        with suppress(DatabaseUnavailable):
            await self.flush()
        database = await self._database.get()
        return await database.read(
            lambda rows: rows.audit.list(limit=limit, before=before, operation=operation, actor=actor, outcome=outcome)
        )

    async def flush(self) -> None:
        """Return when everything that was noted is written.

        Raises:
            DatabaseUnavailable: the database does not do its part; the entries still wait for it.
        """
        # A group that is written although who waited for it is gone would be written again.
        task = asyncio.create_task(self._flush())
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)
        await asyncio.shield(task)

    async def _flush(self) -> None:
        async with self._writing:
            while self._waiting:
                group = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
                database = await self._database.get()
                await database.write(partial(_add, group), durable=False)
                self._forget(group)

    async def close(self) -> None:
        """Write what waits; what cannot be written is lost, and counted. Nothing may be noted afterwards."""
        async with self._writing:
            if self._writer is not None:
                self._writer.cancel()
                await asyncio.gather(self._writer, return_exceptions=True)
                self._writer = None
        try:
            await self.flush()
        except DatabaseUnavailable as error:
            METERS.audit_entries_lost.inc(len(self._waiting))
            _log.warning("audit_entries_lost", entries=len(self._waiting), reason=error.message)
            self._waiting.clear()

    async def _write_and_purge(self) -> None:
        loop = asyncio.get_running_loop()
        next_purge = loop.time()
        pause = FIRST_PAUSE_SECONDS
        while True:
            is_written, is_purge_due = False, loop.time() >= next_purge
            with guarded("writing the audit log"):
                is_written = await self._is_written(purge=is_purge_due)
            if not is_written:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            if is_purge_due:
                next_purge = loop.time() + PURGE_SECONDS
            pause = FIRST_PAUSE_SECONDS
            self._news.clear()
            if not self._waiting:
                await self._news_until(next_purge - loop.time())

    async def _is_written(self, *, purge: bool) -> bool:
        """Write what waits, and forget what is old; return whether the database took it."""
        try:
            await self._flush()
            if purge:
                await self._purge()
        except DatabaseUnavailable as error:
            self._tell(error)
            return False
        self._tell(None)
        return True

    async def _news_until(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _purge(self) -> None:
        oldest = datetime.now(UTC) - self._retention
        count = await (await self._database.get()).write(lambda rows: rows.audit.purge(oldest), durable=False)
        if count:
            _log.info("audit_entries_purged", entries=count)

    def _forget(self, written: Sized) -> None:
        for _ in range(len(written)):
            self._waiting.popleft()

    def _tell(self, trouble: DatabaseUnavailable | None) -> None:
        """Log that the database stopped working, and that it works again; each once."""
        if trouble is not None and not self._is_broken:
            _log.warning("audit_log_waits", entries=len(self._waiting), reason=trouble.message)
        elif trouble is None and self._is_broken:
            _log.info("audit_log_written_again")
        self._is_broken = trouble is not None


def _add(group: Sequence[AuditEntry], rows: Rows) -> None:
    rows.audit.add(group)
