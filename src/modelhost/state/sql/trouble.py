"""What a database's refusals mean, in sentences with a way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from modelhost.config.databases import Place, SqliteFile
from modelhost.errors import DatabaseUnavailable

ELSEWHERE: Final = "choose another place with --data-dir or --database-url"
# https://sqlite.org/rescode.html: the messages of these codes.
_OF_SQLITE: Final[Mapping[str, str]] = {
    "unable to open database file": f"it cannot be opened. Check that its directory can be written, or {ELSEWHERE}",
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
    """Turn what the database at ``place`` refuses into :class:`DatabaseUnavailable`; our own mistakes stay."""
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
    """Return the error that says what ``reason`` means and what to do."""
    way_out = _way_out(place, reason) or _said(place, reason)
    return DatabaseUnavailable(f"The database {place} does not work: {way_out}.", database=str(place))


def _said(place: Place, reason: str) -> str:
    """The database's own words; asyncpg puts the name of an exception in front."""
    own = reason.split(">: ", 1)[-1].strip().rstrip(".")
    check = (
        ELSEWHERE if isinstance(place, SqliteFile) else "check that the server runs and that --database-url is right"
    )
    return f"{own}. If it stays like that, {check}"


def _way_out(place: Place, reason: str) -> str | None:
    known = _OF_SQLITE if isinstance(place, SqliteFile) else _OF_POSTGRESQL
    return next((way_out for words, way_out in known.items() if words in reason.lower()), None)
