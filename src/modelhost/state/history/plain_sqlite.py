"""SQLite by Python's own module: what each use of a file needs, and a connection for statements in plain SQL."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from modelhost.config.databases import SqliteFile
from modelhost.config.directories import make_private
from modelhost.state import schema
from modelhost.state.history.statements import Statements
from modelhost.state.transactions import decided
from modelhost.state.unavailable import explained, unavailable

BUSY_SECONDS: Final = 10.0
"""To wait for a file that another process writes."""
T = TypeVar("T")


class PlainSqlite:
    """An open file whose tables are those of this version.

    All methods raise :class:`modelhost.errors.DatabaseUnavailable` if it cannot be used.
    """

    def __init__(self, place: SqliteFile) -> None:
        self._place = place
        # All is done in one thread, one after the other: a connection has one transaction at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="modelhost-history")
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    @classmethod
    async def open(cls, place: SqliteFile) -> Self | None:
        """Open the file at ``place``, which is created with its tables if it does not exist.

        Return ``None`` if its tables are those of an older version.
        """
        opened = cls(place)
        try:
            with explained(place):
                is_current = await decided(opened._in_thread(opened._open))
        except BaseException:
            await opened.close()
            raise
        if is_current:
            return opened
        await opened.close()
        return None

    async def read(self, work: Callable[[Statements], T]) -> T:
        """Return the result of ``work`` in one transaction, which blocks no writer and sees one moment."""
        return await self._transaction("DEFERRED", work)

    async def write(self, work: Callable[[Statements], T]) -> T:
        """Do ``work`` in one transaction, committed at its end, or rolled back if it raises.

        A committed transaction survives the end of the process, but not a power failure. Its outcome is certain when
        this returns, even if the task is cancelled meanwhile.
        """
        return await self._transaction("IMMEDIATE", work)

    async def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        try:
            await decided(self._in_thread(self._close))
        finally:
            self._thread.shutdown(wait=False)

    async def _transaction(self, kind: str, work: Callable[[Statements], T]) -> T:
        with explained(self._place):
            return await decided(self._in_thread(partial(self._work, kind, work)))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> bool:
        path = self._place.path.absolute()
        make_private_file(path)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        self._connection = connection
        version = _version(connection)
        schema.check_version(self._place, version)
        if version is None and not _has_version(connection):
            use_write_ahead_log(connection.execute)
            version = _created(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        self._opened = identity(path)
        return version == schema.HEAD

    def _work(self, kind: str, work: Callable[[Statements], T]) -> T:
        connection = self._connection
        if connection is None:
            raise unavailable(self._place, "it was closed")
        if identity(self._place.path.absolute()) != self._opened:
            raise unavailable(self._place, "its file was replaced")
        connection.execute(f"BEGIN {kind}")
        with connection:  # commits, or rolls back
            return work(_Statements(connection))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Statements:
    """:class:`modelhost.state.history.statements.Statements` on a connection of Python's own module."""

    is_postgresql = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def query(self, statement: str, /, **values: Any) -> Sequence[Sequence[Any]]:
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, rows: Sequence[Mapping[str, Any]], /) -> None:
        self._connection.executemany(statement, rows)

    def apart(self, work: Callable[[], T]) -> T:
        return work()  # the transaction has a thread of its own


def identity(path: Path) -> tuple[int, int] | None:
    """Return what identifies the file at ``path``; ``None`` without one, as with a database in memory.

    Linux keeps a file that was removed until it is closed: SQLite notices nothing.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_private_file(path: Path) -> None:
    """Create a new file that only its owner can read: it holds conversations.

    A file that exists is not opened: closing it would end the locks of all its connections in this process
    (https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    """
    make_private(path.parent)
    with suppress(FileExistsError):
        os.close(os.open(path.resolve(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def use_write_ahead_log(execute: Callable[[str], object]) -> None:
    """Let readers and a writer not block each other. The setting is stored in the file."""
    deadline = time.monotonic() + BUSY_SECONDS
    # If several processes do this to a new file, SQLite refuses all but one at once.
    while not _uses_write_ahead_log(execute, last_try=time.monotonic() > deadline):
        time.sleep(0.02)


def _uses_write_ahead_log(execute: Callable[[str], object], *, last_try: bool) -> bool:
    try:
        execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if last_try or "locked" not in str(error):
            raise
        return False
    return True


def _has_version(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall())


def _version(connection: sqlite3.Connection) -> str | None:
    found = connection.execute(schema.VERSION).fetchone() if _has_version(connection) else None
    return None if found is None else str(found[0])


def _created(connection: sqlite3.Connection) -> str | None:
    """Create the tables; return their version, which is that of another process if it was faster."""
    connection.execute("BEGIN EXCLUSIVE")
    with connection:
        if not _has_version(connection):
            for statement in schema.statements("sqlite"):
                connection.execute(statement)
        return _version(connection)
