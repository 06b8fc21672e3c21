"""The database, opened when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from modelhost import lazy
from modelhost.config.databases import Place

if TYPE_CHECKING:
    from modelhost.state.sql.database import Database
    from modelhost.state.sql.rows import Rows

T = TypeVar("T")


class LazyDatabase:
    """Opens the database at ``place`` once, also for concurrent callers."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._database: Database | None = None
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self._database is not None

    async def get(self) -> Database:
        """Return the database, with its tables migrated to this version.

        Raises:
            DatabaseUnavailable: it cannot be opened; the next call tries again.
        """
        if self._database is not None:
            return self._database
        async with self._opening:
            if self._database is None:
                await asyncio.to_thread(lazy.preload, "sql_opening")
                self._database = await lazy.sql_opening.open_database(self.place)
            return self._database

    async def read(self, work: Callable[[Rows], T]) -> T:
        """As :meth:`Database.read`, once it is open."""
        return await (await self.get()).read(work)

    async def write(self, work: Callable[[Rows], T], *, durable: bool = True) -> T:
        """As :meth:`Database.write`, once it is open."""
        return await (await self.get()).write(work, durable=durable)

    async def close(self) -> None:
        """Close it; :meth:`get` opens it again."""
        async with self._opening:
            database, self._database = self._database, None
            if database is not None:
                await database.close()
