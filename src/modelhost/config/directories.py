"""The directories of a host's persistent data."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from modelhost.config.databases import FILE_NAME, Place, SqliteFile, parse_database_url
from modelhost.config.environment import current
from modelhost.config.paths import missing_home
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError

NAME: Final = "modelhost"


def data_directory(settings: Settings, environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """Return the absolute path of the data directory, which may not exist yet.

    Without a setting it is ``modelhost`` in the user's data directory:
    https://specifications.freedesktop.org/basedir-spec/latest/

    Raises:
        ConfigError: it is below a home directory that does not exist or is unknown.
    """
    try:
        return _data_directory(settings, environ, platform)
    except RuntimeError as error:
        raise ConfigError(
            "There is no home directory to keep data in: set HOME, or name another place with --data-dir.",
            param="data_dir",
        ) from error


def _data_directory(settings: Settings, environ: Mapping[str, str] | None, platform: str) -> Path:
    if settings.data_dir is not None:
        return _given(settings.data_dir)
    environ = current() if environ is None else environ
    given = environ.get("XDG_DATA_HOME", "")
    if Path(given).is_absolute():
        return Path(given) / NAME
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / NAME
    return Path.home() / ".local" / "share" / NAME


def _given(data_dir: str) -> Path:
    try:
        return Path(data_dir).expanduser().absolute()
    except RuntimeError as error:  # otherwise a folder called ~ would be created
        raise ConfigError(f"data_dir: {missing_home(data_dir)}", param="data_dir") from error


def make_private(folder: Path) -> None:
    """Create ``folder`` and its missing parents, accessible to this user only; existing ones stay unchanged.

    Raises:
        OSError: it cannot be created.
    """
    # Path.mkdir applies its mode to the last one only.
    for missing in reversed([each for each in (folder, *folder.parents) if not each.is_dir()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def database_place(settings: Settings) -> Place:
    """Return the location of the database; by default a SQLite file in the data directory."""
    if settings.database_url is not None:
        return parse_database_url(settings.database_url.get_secret_value())
    return SqliteFile(path=data_directory(settings) / FILE_NAME, options={})
