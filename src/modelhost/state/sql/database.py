"""Transactions on any database, and its errors as messages that say what to do."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from modelhost.config.databases import Place, SqliteFile
from modelhost.errors import DatabaseUnavailable
from modelhost.state.sql.rows import Rows

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
            return await _decided(self._read(lambda connection: work(Rows(connection))))

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
            return await _decided(self._write(lambda connection: work(Rows(connection)), durable=durable))

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


async def _decided(transaction: Coroutine[Any, Any, T]) -> T:
    """Return the outcome of ``transaction``; a cancellation waits for it.

    A cancellation in the middle would leave unknown what is stored, and the connection in an unknown state.
    """
    task = asyncio.create_task(transaction)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # retrieved, since it is not raised
        raise


ELSEWHERE: Final = "choose another place with --data-dir or --database-url"
# https://sqlite.org/rescode.html: the messages of these codes.
_OF_SQLITE: Final[Mapping[str, str]] = {
    "unable to open database file": f"it cannot be opened. Check that its directory can be written, or {ELSEWHERE}",
    "file was replaced": "its file was removed or replaced while the host had it open. Put it back, or restart "
    "the host: what is stored meanwhile is lost",
    "readonly": f"it is read-only. Make the file and its directory writable, or {ELSEWHERE}",
    "disk is full": f"the disk is full. Make room, or {ELSEWHERE}",
    "file is not a database": f"it is no SQLite database, or damaged. Put a backup there, move it away, or {ELSEWHERE}",
    "malformed": f"it is damaged. Put a backup there, move it away to begin anew, or {ELSEWHERE}",
    "locked": "another process has it locked. End that process, or try again",
    "disk i/o error": f"its disk does not work. Check the disk, or {ELSEWHERE}",
}
_OF_POSTGRESQL: Final[Mapping[str, str]] = {
    "read-only transaction": "it is read-only. Name its primary server with --database-url",
    "no space left on device": "its disk is full. Make room on the server",
    "password authentication failed": "it does not take this user and password. Mend --database-url",
    "permission denied": "the user may not do that. Grant it the rights to create and use tables",
}


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn errors of the database at ``place`` into :class:`DatabaseUnavailable`, but not our own mistakes."""
    try:
        yield
    except (IntegrityError, ProgrammingError, DataError) as error:
        if _way_out(place, str(error.orig)) is None:
            raise
        raise unavailable(place, str(error.orig)) from error
    except DBAPIError as error:
        raise unavailable(place, str(error.orig)) from error
    except sqlite3.Error as error:
        raise unavailable(place, str(error)) from error
    except NoConnectionFree as error:
        raise unavailable(place, "all connections to it are in use") from error
    except (OSError, TimeoutError) as error:
        raise unavailable(place, str(error) or type(error).__name__) from error


def unavailable(place: Place, reason: str) -> DatabaseUnavailable:
    """Return the error for ``reason``, which says what to do."""
    way_out = _way_out(place, reason) or _said(place, reason)
    return DatabaseUnavailable(f"The database {place} does not work: {way_out}.", database=str(place))


def _said(place: Place, reason: str) -> str:
    """Return the database's own message; asyncpg puts the name of an exception in front."""
    own = reason.split(">: ", 1)[-1].strip().rstrip(".")
    check = (
        ELSEWHERE if isinstance(place, SqliteFile) else "check that the server runs and that --database-url is right"
    )
    return f"{own}. If it stays like that, {check}"


def _way_out(place: Place, reason: str) -> str | None:
    known = _OF_SQLITE if isinstance(place, SqliteFile) else _OF_POSTGRESQL
    return next((way_out for words, way_out in known.items() if words in reason.lower()), None)
