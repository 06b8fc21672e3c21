"""The database, opened when somebody first needs it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelhost import lazy
from modelhost.config.databases import Place

if TYPE_CHECKING:
    from modelhost.state.sql.database import Database


class LazyDatabase:
    """Opens the database at ``place`` once, however many ask for it at the same time.

    The libraries for it take a tenth of a second to import: a host that keeps nothing does without them.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._database: Database | None = None
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return self._database is not None

    async def get(self) -> Database:
        """Return the database with its tables as this version wants them.

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

    async def close(self) -> None:
        """Close it; the next :meth:`get` opens it again."""
        async with self._opening:
            database, self._database = self._database, None
            if database is not None:
                await database.close()
