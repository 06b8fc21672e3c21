"""SQLite.

A whole transaction runs in a thread. An asynchronous driver switches threads four times per statement: a turn of a
session took 50 such switches, and most of its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import Connection

from modelhost.config.databases import SqliteFile
from modelhost.state.history import plain_sqlite
from modelhost.state.history.plain_sqlite import identity, make_private_file, use_write_ahead_log
from modelhost.state.sql.database import Database, Run, Work
from modelhost.state.sql.rows import Rows
from modelhost.state.unavailable import unavailable

THREADS: Final = 4
T = TypeVar("T")


class SqliteDatabase(Database):
    """A database in a file, which is created with its directory if it does not exist."""

    def __init__(self, place: SqliteFile) -> None:
        super().__init__(place)
        self._engine = _engine(place)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="modelhost-state")
        # There is one writer at a time, for which SQLite would make others poll.
        self._writer = asyncio.Lock()
        self._path = place.path.absolute()
        self._opened = identity(self._path)

    async def migrate(self, work: Callable[[Connection], T]) -> T:
        migrated = await self._in_thread(partial(_migrate, self._engine, work))
        self._opened = await self._in_thread(lambda: identity(self._path))
        return migrated

    async def check_place(self) -> None:
        if await self._in_thread(lambda: identity(self._path)) != self._opened:
            raise unavailable(self.place, "its file was replaced")

    async def close(self) -> None:
        await self._in_thread(self._engine.dispose)
        self._threads.shutdown(wait=False)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._in_thread(partial(_transaction, self._engine, work))

    async def _write(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        engine = self._engine.execution_options(begin="IMMEDIATE", synchronous="FULL" if durable else "NORMAL")
        async with self._writer:
            return await self._in_thread(partial(_transaction, engine, work))

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Run]:
        connection = await self._in_thread(self._engine.connect)

        async def run(work: Work[T], /) -> T:
            return await self._in_thread(lambda: work(Rows(connection)))

        try:
            yield run
        finally:
            await self._in_thread(connection.close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _engine(place: SqliteFile) -> Engine:
    path = place.path.absolute()
    if not place.options:
        make_private_file(path)
    # As a URI of SQLite, for its options: https://sqlite.org/uri.html
    address = URL.create("sqlite", database=f"file:{quote(str(path))}", query={**place.options, "uri": "true"})
    # Python's module would begin a transaction at the first change; a reader that becomes a writer then fails if
    # another was faster.
    engine = create_engine(address, connect_args={"timeout": plain_sqlite.BUSY_SECONDS, "isolation_level": None})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if "synchronous" in options:
        connection.exec_driver_sql(f"PRAGMA synchronous = {options['synchronous']}")
    connection.exec_driver_sql(f"BEGIN {options.get('begin', 'DEFERRED')}")


def _transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def _migrate(engine: Engine, work: Callable[[Connection], T]) -> T:
    with closing(engine.raw_connection()) as connection:
        use_write_ahead_log(connection.cursor().execute)
    return _transaction(engine.execution_options(begin="EXCLUSIVE"), work)
