"""Transactions, whatever the database is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine import Connection

from modelhost.config.databases import Place
from modelhost.state.sql.rows import Rows
from modelhost.state.sql.trouble import explained

T = TypeVar("T")
Work = Callable[[Rows], T]


class Run(Protocol):
    """Does work in one transaction, again and again."""

    def __call__(self, work: Work[T], /) -> Awaitable[T]: ...


class Database(ABC):
    """An open database. Work is done where it does not keep the event loop waiting.

    All methods raise :class:`DatabaseUnavailable` where the database does not do its part.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    async def read(self, work: Work[T]) -> T:
        """Return what ``work`` finds in one transaction, which keeps nobody waiting and sees one moment."""
        with explained(self.place):
            return await _decided(self._read(lambda connection: work(Rows(connection))))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Run]:
        """A transaction like that of :meth:`read`, for work in several parts."""
        with explained(self.place):
            async with self._reading() as run:
                yield run

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Do ``work`` in one transaction, committed at its end, or undone if that is an exception.

        A committed one survives the end of the process, a ``durable`` one a power cut too. It is decided when this
        returns, also for a task that is cancelled meanwhile.
        """
        with explained(self.place):
            return await _decided(self._write(lambda connection: work(Rows(connection)), durable=durable))

    @abstractmethod
    async def migrate(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in a transaction while nobody else does so."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    async def _read(self, work: Callable[[Connection], T]) -> T: ...

    @abstractmethod
    async def _write(self, work: Callable[[Connection], T], *, durable: bool) -> T: ...

    @abstractmethod
    def _reading(self) -> AbstractAsyncContextManager[Run]: ...


async def _decided(transaction: Coroutine[Any, Any, T]) -> T:
    """Return the outcome of ``transaction``, and be cancelled only after there is one.

    Who is cancelled in the middle would not know what is stored, and would leave a connection in an unknown state.
    """
    task = asyncio.create_task(transaction)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # Nobody will ask for it.
        raise
