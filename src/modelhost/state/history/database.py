"""The database for what a host writes by itself: its metrics and alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from modelhost.config.databases import SqliteFile
from modelhost.state.history.plain_sqlite import PlainSqlite
from modelhost.state.history.statements import Statements
from modelhost.state.lazy_database import LazyDatabase

T = TypeVar("T")


class HistoryDatabase:
    """Uses ``database`` if it is open. Else a SQLite file is opened without SQLAlchemy, which takes 15 MB; it is closed
    at the first use after ``database`` has been opened.

    The methods raise :class:`modelhost.errors.DatabaseUnavailable` if the database cannot be used.
    """

    def __init__(self, database: LazyDatabase) -> None:
        self._database = database
        self._plain: PlainSqlite | None = None
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it can be used without being opened first."""
        return self._plain is not None or self._database.is_open

    async def read(self, work: Callable[[Statements], T]) -> T:
        """Return the result of ``work`` in one transaction, which changes nothing."""
        if (plain := await self._opened()) is not None:
            return await plain.read(work)
        database = await self._database.get()
        await database.check_place()
        return await database.read(lambda rows: work(rows.statements))

    async def write(self, work: Callable[[Statements], T]) -> T:
        """Do ``work`` in one transaction, which survives the end of the process, but not a power failure."""
        if (plain := await self._opened()) is not None:
            return await plain.write(work)
        database = await self._database.get()
        await database.check_place()
        return await database.write(lambda rows: work(rows.statements), durable=False)

    async def close(self) -> None:
        """Close what was opened here; the next use opens it again."""
        async with self._opening:
            plain, self._plain = self._plain, None
            if plain is not None:
                await plain.close()

    async def _opened(self) -> PlainSqlite | None:
        """Return the file; ``None`` where the database is to be used."""
        place = self._database.place
        # Options of SQLite are SQLAlchemy's business, and so are migrations.
        if self._database.is_open:
            if self._plain is not None:
                await self.close()  # SQLite sees to it that the locks of the other connections to the file stay
            return None
        if not isinstance(place, SqliteFile) or place.options:
            return None
        async with self._opening:
            if self._plain is None and not self._database.is_open:
                self._plain = await PlainSqlite.open(place)
            return self._plain
