"""What is said of a database that cannot be used: what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from modelhost.config.databases import Place, SqliteFile
from modelhost.errors import DatabaseUnavailable

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
    """Turn errors of SQLite and of the system into :class:`DatabaseUnavailable`; ``place`` is where the database is."""
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(place, str(error)) from error
    except (OSError, TimeoutError) as error:
        raise unavailable(place, str(error) or type(error).__name__) from error


def unavailable(place: Place, reason: str) -> DatabaseUnavailable:
    """Return the error for ``reason``, which says what to do."""
    way_out = way_out_of(place, reason) or _said(place, reason)
    return DatabaseUnavailable(f"The database {place} does not work: {way_out}.", database=str(place))


def way_out_of(place: Place, reason: str) -> str | None:
    """Return what to do about ``reason``, a message of the database, if that is known."""
    known = _OF_SQLITE if isinstance(place, SqliteFile) else _OF_POSTGRESQL
    return next((way_out for words, way_out in known.items() if words in reason.lower()), None)


def _said(place: Place, reason: str) -> str:
    """Return the database's own message; asyncpg puts the name of an exception in front."""
    own = reason.split(">: ", 1)[-1].strip().rstrip(".")
    check = (
        ELSEWHERE if isinstance(place, SqliteFile) else "check that the server runs and that --database-url is right"
    )
    return f"{own}. If it stays like that, {check}"
