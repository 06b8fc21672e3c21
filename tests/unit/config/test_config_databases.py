"""Where what a host keeps is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from modelhost.config.databases import PostgresServer, SqliteFile, parse_database_url
from modelhost.config.directories import data_directory, database_place, make_private
from modelhost.config.fields import MASK, display_text
from modelhost.config.settings import Settings


@pytest.mark.parametrize(
    ("url", "path", "options"),
    [
        ("sqlite:///modelhost.db", "modelhost.db", {}),
        ("sqlite:////var/lib/a%20b.db?mode=ro", "/var/lib/a b.db", {"mode": "ro"}),
        ("sqlite+aiosqlite:////x.db", "/x.db", {}),
        (" sqlite:///~/x.db ", str(Path.home() / "x.db"), {}),
    ],
)
def test_the_address_of_a_file(url: str, path: str, options: dict[str, str]) -> None:
    assert parse_database_url(url) == SqliteFile(path=Path(path), options=options)


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("postgresql://me:geheim@db:5433/x", "postgresql://me:geheim@db:5433/x", "postgresql://me@db:5433/x"),
        ("postgres://db/x?password=geheim", "postgresql://db/x?password=geheim", "postgresql://db/x"),
        ("postgresql+asyncpg:///x?host=/run", "postgresql:///x?host=/run", "postgresql:///x"),
    ],
)
def test_the_address_of_a_server_is_shown_without_its_password(url: str, address: str, shown: str) -> None:
    place = parse_database_url(url)
    assert isinstance(place, PostgresServer)
    assert place.address.get_secret_value() == address
    assert str(place) == shown
    assert "geheim" not in repr(place)


@pytest.mark.parametrize(
    "url",
    ["mysql://u:geheim@h/x", "sqlite://", "sqlite:///:memory:", "sqlite://geheim/x", "x", "postgresql://h:geheim/x"],
)
def test_another_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        parse_database_url(url)
    assert "geheim" not in str(refused.value)


def test_the_setting_is_checked_and_never_shown() -> None:
    with pytest.raises(ValueError, match="sqlite:///PATH or postgresql://"):
        Settings.model_validate({"database_url": "mysql://u:geheim@h/x"})
    settings = Settings.model_validate({"database_url": "postgresql://u:geheim@h/x"})
    assert display_text(settings.database_url) == MASK
    assert "geheim" not in repr(settings)


def test_the_directory_is_the_one_of_the_user(tmp_path: Path) -> None:
    home = Path.home()
    assert data_directory(Settings(), {}, "linux") == home / ".local" / "share" / "modelhost"
    assert data_directory(Settings(), {}, "darwin") == home / "Library" / "Application Support" / "modelhost"
    assert data_directory(Settings(), {"XDG_DATA_HOME": str(tmp_path)}, "linux") == tmp_path / "modelhost"
    assert data_directory(Settings(), {"XDG_DATA_HOME": "relative"}, "linux") == home / ".local/share/modelhost"
    assert data_directory(Settings(data_dir="~/x"), {}) == home / "x"
    assert data_directory(Settings(data_dir="x"), {}) == Path("x").absolute()


def test_the_database_is_in_the_data_directory_unless_an_address_is_given(tmp_path: Path) -> None:
    default = SqliteFile(path=tmp_path / "modelhost.db", options={})
    assert database_place(Settings(data_dir=str(tmp_path))) == default
    given = Settings.model_validate({"data_dir": str(tmp_path), "database_url": "sqlite:///x.db"})
    assert database_place(given) == SqliteFile(path=Path("x.db"), options={})


def test_folders_of_the_host_are_for_this_user_alone_and_others_stay_as_they_are(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        there = tmp_path / "there"
        there.mkdir(mode=0o755)
        for _ in range(2):
            make_private(there / "made" / "deep")
    finally:
        os.umask(before)
    folders = [there, there / "made", there / "made" / "deep"]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o755, 0o700, 0o700]
