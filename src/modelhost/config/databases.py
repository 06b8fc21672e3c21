"""The location of the database: a validated URL, with a form without its password for display."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field, SecretStr

from modelhost.config.paths import missing_home
from modelhost.config.value_types import checked_by

FILE_NAME: Final = "modelhost.db"
FORMS: Final = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"

_SQLITE: Final = frozenset({"sqlite", "sqlite+aiosqlite"})
_POSTGRESQL: Final = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteFile:
    """A SQLite database; ``options`` are parameters of SQLite's file URIs, such as ``mode=ro``."""

    path: Path
    options: Mapping[str, str]

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A PostgreSQL database; ``address`` is the URL for libpq, with the password."""

    address: SecretStr
    shown: str

    def __str__(self) -> str:
        return self.shown


Place = SqliteFile | PostgresServer


def parse_database_url(url: str) -> Place:
    """Parse the URL of a database; the path of a SQLite file may begin with ``~``.

    Raises:
        ValueError: it is no supported URL; the message ends a sentence and does not repeat it.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"expected {FORMS}") from error
    if parts.scheme in _SQLITE:
        path = unquote(parts.path.removeprefix("/"))
        if parts.netloc or not path or path == ":memory:":
            raise ValueError("expected the path of a file: sqlite:///modelhost.db, sqlite:////var/lib/modelhost.db")
        try:
            place = Path(path).expanduser()
        except RuntimeError as error:
            raise ValueError(missing_home(path)) from error
        return SqliteFile(path=place, options=dict(parse_qsl(parts.query)))
    if parts.scheme in _POSTGRESQL:
        user = f"{unquote(parts.username)}@" if parts.username else ""
        shown = f"postgresql://{user}{parts.hostname or ''}{f':{port}' if port else ''}{parts.path}"
        address = f"postgresql://{url.strip().partition('://')[2]}"
        return PostgresServer(address=SecretStr(address), shown=shown)
    raise ValueError(f"expected {FORMS}")


DatabaseUrl = Annotated[SecretStr, Field(min_length=1), checked_by(parse_database_url, "database_url")]
"""A URL that :func:`parse_database_url` takes; it may hold a password."""
