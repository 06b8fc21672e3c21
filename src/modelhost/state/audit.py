"""The audit log: who performed which operation, and with which outcome."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from modelhost.background import cancel_and_wait, log_failures
from modelhost.errors import DatabaseUnavailable
from modelhost.logs import get_logger
from modelhost.meters import METERS
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.records import AuditEntry

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows

MOST_WAITING: Final = 10_000
"""Entries that wait for the database; further ones are lost, and counted."""
AT_ONCE: Final = 500
PURGE_SECONDS: Final = 24 * 3600.0
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
"""Between two attempts to write to a database that fails."""

_log = get_logger(__name__)


class AuditLog:
    """Written in batches by a task of its own; entries are deleted after ``retention``."""

    def __init__(self, database: LazyDatabase, *, retention: timedelta) -> None:
        self._database = database
        self._retention = retention
        self._waiting: deque[AuditEntry] = deque()
        self._added = asyncio.Event()
        self._writing = asyncio.Lock()
        self._flushing: set[asyncio.Task[None]] = set()
        self._writer: asyncio.Task[None] | None = None
        self._is_broken = False

    def note(self, entry: AuditEntry) -> None:
        """Add ``entry``. Never waits and never raises.

        While the database fails, entries wait for it; those beyond 10,000 are lost, and counted.
        """
        if len(self._waiting) >= MOST_WAITING:
            METERS.audit_entries_lost.inc()
            return
        self._waiting.append(entry)
        self._added.set()
        self.start()

    def start(self) -> None:
        """Start writing and deleting entries; :meth:`note` does it, too."""
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
        """Return the matching entries, the newest first, including those added last unless they cannot be written.

        Raises:
            DatabaseUnavailable: the database cannot be used.
        """
        with suppress(DatabaseUnavailable):
            await self.flush()
        return await self._database.read(
            lambda rows: rows.audit.list(limit=limit, before=before, operation=operation, actor=actor, outcome=outcome)
        )

    async def flush(self) -> None:
        """Wait until all entries are written.

        Raises:
            DatabaseUnavailable: the database cannot be used; the entries still wait for it.
        """
        # Shielded: a batch that was written although its waiter was cancelled would be written again.
        task = asyncio.create_task(self._flush())
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)
        await asyncio.shield(task)

    async def _flush(self) -> None:
        async with self._writing:
            while self._waiting:
                group = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
                await self._database.write(partial(_add, group), durable=False)
                for _ in group:
                    self._waiting.popleft()

    async def close(self) -> None:
        """Write the waiting entries; what cannot be written is lost, and counted. Add none afterwards."""
        async with self._writing:
            await cancel_and_wait(self._writer)
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
            with log_failures("writing the audit log"):
                is_written = await self._write_now(purge=is_purge_due)
            if not is_written:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            if is_purge_due:
                next_purge = loop.time() + PURGE_SECONDS
            pause = FIRST_PAUSE_SECONDS
            self._added.clear()
            if not self._waiting:
                await self._wait_for_entries(next_purge - loop.time())

    async def _write_now(self, *, purge: bool) -> bool:
        """Write waiting entries and delete old ones; return whether that succeeded."""
        try:
            await self._flush()
            if purge:
                await self._purge()
        except DatabaseUnavailable as error:
            self._log_trouble(error)
            return False
        self._log_trouble(None)
        return True

    async def _wait_for_entries(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._added.wait()
        except TimeoutError:
            return

    async def _purge(self) -> None:
        oldest = datetime.now(UTC) - self._retention
        count = await self._database.write(lambda rows: rows.audit.purge(oldest), durable=False)
        if count:
            _log.info("audit_entries_purged", entries=count)

    def _log_trouble(self, trouble: DatabaseUnavailable | None) -> None:
        """Log once that the database fails, and once that it works again."""
        if trouble is not None and not self._is_broken:
            _log.warning("audit_log_waits", entries=len(self._waiting), reason=trouble.message)
        elif trouble is None and self._is_broken:
            _log.info("audit_log_written_again")
        self._is_broken = trouble is not None


def _add(group: Sequence[AuditEntry], rows: Rows) -> None:
    rows.audit.add(group)
