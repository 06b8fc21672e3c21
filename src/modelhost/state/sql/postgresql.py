"""PostgreSQL, through asyncpg."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from modelhost.config.databases import PostgresServer
from modelhost.state.sql.database import Database, Run, Work
from modelhost.state.sql.rows import Rows

CONNECT_SECONDS: Final = 10.0
COMMAND_SECONDS: Final = 60.0
_MIGRATING: Final = 0x6D6F64656C00
"""Identifies our lock among all on a server: "model"."""
T = TypeVar("T")


class PostgresDatabase(Database):
    def __init__(self, place: PostgresServer) -> None:
        super().__init__(place)

        async def connect() -> Any:
            """asyncpg accepts libpq's addresses unchanged; SQLAlchemy supports fewer of their options."""
            try:
                return await asyncpg.connect(
                    place.address.get_secret_value(), timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS
                )
            except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
                raise ConnectionError(str(error)) from error

        # With pre-ping the first request after a restart of the server does not fail.
        self._engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True)
        self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    async def migrate(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
            return await connection.run_sync(work)

    async def check_place(self) -> None:
        """Nothing to do: another server would have other connections."""

    async def close(self) -> None:
        await self._engine.dispose()

    async def _read(self, work: Callable[[Connection], T]) -> T:
        async with self._reader.begin() as connection:
            return await connection.run_sync(work)

    async def _write(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        async with self._engine.begin() as connection:
            if not durable:
                await connection.execute(text("SET LOCAL synchronous_commit = off"))
            return await connection.run_sync(work)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Run]:
        async with self._reader.begin() as connection:

            async def run(work: Work[T], /) -> T:
                return await connection.run_sync(lambda within: work(Rows(within)))

            yield run
