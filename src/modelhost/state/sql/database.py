"""Transactions on any database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from modelhost.config.databases import Place
from modelhost.state import unavailable
from modelhost.state.sql.rows import Rows
from modelhost.state.transactions import decided

T = TypeVar("T")
Work = Callable[[Rows], T]


class Run(Protocol):
    """Does work repeatedly in one transaction."""

    def __call__(self, work: Work[T], /) -> Awaitable[T]: ...


class Database(ABC):
    """An open database. Work does not block the event loop.

    All methods raise :class:`DatabaseUnavailable` if the database cannot be used.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    async def read(self, work: Work[T]) -> T:
        """Return the result of ``work`` in one transaction, which blocks no writer and sees one moment."""
        with explained(self.place):
            return await decided(self._read(lambda connection: work(Rows(connection))))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Run]:
        """A transaction like that of :meth:`read`, for work in several parts."""
        with explained(self.place):
            async with self._reading() as run:
                yield run

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Do ``work`` in one transaction, committed at its end, or rolled back if it raises.

        A committed transaction survives the end of the process, a ``durable`` one also a power failure. Its outcome is
        certain when this returns, even if the task is cancelled meanwhile.
        """
        with explained(self.place):
            return await decided(self._write(lambda connection: work(Rows(connection)), durable=durable))

    @abstractmethod
    async def check_place(self) -> None:
        """Check that what is open is still what is at :attr:`place`."""

    @abstractmethod
    async def migrate(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in an exclusive transaction."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    async def _read(self, work: Callable[[Connection], T]) -> T: ...

    @abstractmethod
    async def _write(self, work: Callable[[Connection], T], *, durable: bool) -> T: ...

    @abstractmethod
    def _reading(self) -> AbstractAsyncContextManager[Run]: ...


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn errors of the database at ``place`` into :class:`DatabaseUnavailable`, but not our own mistakes."""
    try:
        with unavailable.explained(place):
            yield
    except (IntegrityError, ProgrammingError, DataError) as error:
        if unavailable.way_out_of(place, str(error.orig)) is None:
            raise
        raise unavailable.unavailable(place, str(error.orig)) from error
    except DBAPIError as error:
        raise unavailable.unavailable(place, str(error.orig)) from error
    except NoConnectionFree as error:
        raise unavailable.unavailable(place, "all connections to it are in use") from error
