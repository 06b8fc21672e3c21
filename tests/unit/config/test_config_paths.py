"""A ``~`` that stands for nothing is an error that says so, wherever a path may begin with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modelhost import logs
from modelhost.config.databases import parse_database_url
from modelhost.config.directories import data_directory
from modelhost.config.paths import expand_home
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError, ModelFileMissing
from modelhost.models.files.gguf import read_header
from modelhost.models.files.media_encoder import read_media_encoder
from modelhost.models.registry.registry import find_registry
from modelhost.models.resolve.locate import locate, name_of
from modelhost.tools.servers_file import read_servers

NOBODY = "~nobody-of-this-name/x"


def test_home_of_this_user_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_home("~/x") == tmp_path / "x"
    assert expand_home("x/~") == Path("x/~")


def test_path_of_an_unknown_user_stays_and_has_nothing() -> None:
    assert expand_home(NOBODY) == Path(NOBODY)
    assert name_of(f"{NOBODY}.gguf") == "x"


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda: locate(f"{NOBODY}.gguf"), ModelFileMissing),
        (lambda: locate(NOBODY), ModelFileMissing),
        (lambda: read_header(Path(f"{NOBODY}.gguf")), ModelFileMissing),
        (lambda: read_media_encoder(expand_home(f"{NOBODY}.gguf")), ModelFileMissing),
        (lambda: find_registry(f"{NOBODY}.yaml", Path("/")), ConfigError),
        (lambda: read_servers(expand_home(f"{NOBODY}.json"), {}), ConfigError),
    ],
)
def test_what_is_read_there_is_missing(read: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error, match=NOBODY):
        read()


def test_nothing_is_written_into_a_folder_that_is_called_like_that() -> None:
    unknown = f"there is no home directory for the ~nobody-of-this-name in {NOBODY}: write the whole path"
    with pytest.raises(ConfigError, match=f"^data_dir: {unknown}$"):
        data_directory(Settings(data_dir=NOBODY))
    with pytest.raises(ValueError, match=f"^{unknown}$"):
        parse_database_url(f"sqlite:///{NOBODY}")
    with pytest.raises(ConfigError, match="no home directory"), logs.log_to_file(NOBODY, "info"):
        pass


def test_user_without_a_home_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", str)  # as where HOME is not set and no account is known
    with pytest.raises(ConfigError, match=r"^There is no home directory for the ~ in ~/x: set HOME, or write"):
        expand_home("~/x")
