"""Links that lead nowhere are described as such, whoever follows them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhost.cli.models.known import find_path
from modelhost.cli.serve.flags import choose_model
from modelhost.config.paths import broken_link, is_file_or_link, why_missing
from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.config.variables import read_dotenv
from modelhost.errors import ModelhostError
from modelhost.models.files.gguf import read_header
from modelhost.models.files.hf_directory import read_hf_directory
from modelhost.models.registry.registry import Registry, find_registry, read_registry
from modelhost.models.resolve.inventory import scan
from modelhost.models.resolve.locate import locate
from modelhost.models.resolve.resolve import resolve
from modelhost.tools.servers_file import read_servers
from tests.support.gguf_files import write_model
from tests.support.nano_hf import NANO_HF

SAYS = "is a link that leads nowhere (to "


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dangling(path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.symlink_to("no-such-thing")
    return path


def test_a_link_is_named_with_what_it_should_lead_to(tmp_path: Path) -> None:
    link = dangling(tmp_path / "link")
    assert broken_link(link) == "it is a link that leads nowhere (to no-such-thing)"
    assert broken_link(link / "a" / "b") == f"{link} is a link that leads nowhere (to no-such-thing)"
    (tmp_path / "loop").symlink_to("loop")
    assert broken_link(tmp_path / "loop") == "it is a link that leads nowhere (to loop)"


def test_what_is_there_and_what_is_simply_missing_is_no_such_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link", "missing", "link/below-a-file"):
        assert broken_link(tmp_path / name) is None
    assert why_missing(tmp_path / "missing") == "there is no such file"
    assert [is_file_or_link(tmp_path / name) for name in ("file", "link", "missing", ".")] == [True, True, False, False]


def _split(folder: Path) -> object:
    write_model(folder / "m-00001-of-00002.gguf")
    dangling(folder / "m-00002-of-00002.gguf")
    return read_header(folder / "m-00001-of-00002.gguf")


def _directory(folder: Path, name: str) -> object:
    shutil.copytree(NANO_HF, folder / "model")
    dangling(folder / "model" / name)
    return read_hf_directory(folder / "model")


def _resolved(folder: Path, **settings: Any) -> object:
    dangling(folder / "link")
    return resolve(Settings.model_validate({"model": str(write_model(folder / "m.gguf")), **settings}))


def _registry(folder: Path, entry: str) -> object:
    dangling(folder / "link")
    (folder / "registry.yaml").write_text(f"models: [{{name: x, {entry}}}]")
    return read_registry(folder / "registry.yaml", Settings())


def _servers(folder: Path) -> object:
    dangling(folder / "link")
    (folder / "mcp.json").write_text('{"mcpServers": {"a": {"command": "x", "env_file": "link"}}}')
    return read_servers(folder / "mcp.json", {}).servers[0].why_disabled


FOLLOWED: list[Callable[[Path], object]] = [
    lambda folder: locate(str(dangling(folder / "m.gguf"))),
    lambda folder: locate(f"{dangling(folder / 'models').name}/qwen"),
    lambda folder: read_header(dangling(folder / "m.gguf")),
    lambda folder: _directory(folder, "model.safetensors"),
    lambda folder: _directory(folder, "config.json"),
    lambda folder: _directory(folder, "chat_template.jinja"),
    lambda folder: _resolved(folder, draft_model="link"),
    lambda folder: _resolved(folder, lora=["link:0.5"]),
    lambda folder: _registry(folder, "hf_id: a/b, python: ./link"),
    lambda folder: scan([dangling(folder / "models")]),
    lambda folder: find_path(str(dangling(folder / "m.gguf"))),
    lambda folder: choose_model(None, None, dangling(folder / "m.gguf")),
    lambda folder: read_servers(dangling(folder / "mcp.json"), {}),
    lambda folder: read_registry(find_registry(dangling(folder / "models.yaml"), folder) or folder, Settings()),
    lambda folder: load({}, config_path=dangling(folder / "c.yaml"), environ={}, cwd=folder),
    lambda folder: load({}, config_path=None, environ={}, cwd=dangling(folder / "modelhost.yaml").parent),
]


@pytest.mark.parametrize("follow", FOLLOWED)
def test_an_error_describes_the_link(here: Path, follow: Callable[[Path], object]) -> None:
    with pytest.raises(ModelhostError) as caught:
        follow(here)
    assert SAYS in caught.value.message


def test_parts_of_a_split_model_that_are_such_links_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ModelhostError, match=r"m-00002-of-00002\.gguf \(links that lead nowhere\)"):
        _split(tmp_path)


def test_warnings_describe_the_link(here: Path) -> None:
    _, ignored = read_dotenv(dangling(here / ".env"))
    assert SAYS in str(ignored)
    assert SAYS in str(_servers(here))
    (here / "models").mkdir()
    dangling(here / "models" / "m.gguf")
    assert any(SAYS in problem for problem in scan([here / "models"]).problems)
    registry = _registry(here, "local_path: link")
    assert isinstance(registry, Registry)
    assert SAYS in registry.warnings[0]


def test_a_default_file_that_is_such_a_link_is_not_passed_over(here: Path) -> None:
    dangling(here / "mcp.json")
    settings = load({}, config_path=None, environ={}, cwd=here, default_files=("mcp_config",)).settings
    assert settings.mcp_config == "mcp.json"
