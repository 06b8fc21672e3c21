"""The registry file is read again when it changes, however it is changed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from modelhost.config import watching
from modelhost.config.settings import Settings
from modelhost.errors import ConfigError
from modelhost.models.registry.registry import Registry, read_registry, watch_registry
from tests.support.eventually import eventually_async

SECONDS = 20
BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))])
"""Each line means nine times as much as the one before it."""


def _text(*names: str) -> str:
    return "models:\n" + "".join(f"  - {{name: {name}, engine: scripted}}\n" for name in names)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    path = directory / "models.yaml"
    path.write_text(_text("first"))
    return path


@asynccontextmanager
async def _watching(path: Path) -> AsyncIterator[AsyncGenerator[Registry | ConfigError, None]]:
    seen = read_registry(path, Settings()).digest
    async with asyncio.timeout(SECONDS), aclosing(watch_registry(path, Settings(), seen=seen)) as changes:
        yield changes


async def _names(changes: AsyncGenerator[Registry | ConfigError, None]) -> list[str]:
    found = await anext(changes)
    assert isinstance(found, Registry), found
    return [entry.name for entry in found.entries]


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _remove(path: Path) -> None:
    path.unlink()


def _replace(path: Path, text: str) -> None:
    """As most editors save: a new file takes the place of the old one."""
    new = path.with_name(".models.yaml.swp")
    new.write_text(text)
    new.rename(path)


async def test_a_file_written_in_place_is_read_again(file: Path) -> None:
    async with _watching(file) as changes:
        _write(file, _text("second"))
        assert await _names(changes) == ["second"]


async def test_a_file_replaced_by_rename_is_read_again_each_time(file: Path) -> None:
    async with _watching(file) as changes:
        for name in ("second", "third"):
            _replace(file, _text(name))
            assert await _names(changes) == [name]


async def test_broken_content_is_reported_and_the_repaired_file_is_read(file: Path) -> None:
    async with _watching(file) as changes:
        _replace(file, "models: [{name: a, hf_id")
        found = await anext(changes)
        assert isinstance(found, ConfigError)
        assert found.message.startswith("models.yaml: line 1, column ")
        _replace(file, _text("repaired"))
        assert await _names(changes) == ["repaired"]


@pytest.mark.parametrize("content", [BOMB, f"models: {'[' * 5000}{']' * 5000}", "models: &a [*a]"])
async def test_content_that_means_more_than_can_be_held_is_refused_and_the_repaired_file_is_read(
    file: Path, content: str
) -> None:
    async with _watching(file) as changes:
        _write(file, content)
        assert isinstance(await anext(changes), ConfigError)
        _write(file, _text("second"))
        assert await _names(changes) == ["second"]


async def test_a_missing_file_is_reported_and_watched_on(file: Path) -> None:
    async with _watching(file) as changes:
        _remove(file)
        found = await anext(changes)
        assert isinstance(found, ConfigError)
        assert found.message == "models.yaml: No such file or directory"
        _write(file, _text("back"))
        assert await _names(changes) == ["back"]


async def test_a_missing_directory_is_reported_and_watched_on(file: Path) -> None:
    async with _watching(file) as changes:
        file.parent.rename(file.parent.with_name("elsewhere"))
        assert isinstance(await anext(changes), ConfigError)
        file.parent.mkdir()
        _write(file, _text("back"))
        assert await _names(changes) == ["back"]


async def test_what_leaves_the_content_as_it_is_is_no_change(file: Path) -> None:
    async with _watching(file) as changes:
        os.utime(file)
        _replace(file, _text("first"))
        _write(file.with_name("other.txt"), "x")
        _replace(file, _text("second"))
        assert await _names(changes) == ["second"]


async def test_a_change_before_the_watch_began_is_seen(file: Path) -> None:
    async with asyncio.timeout(SECONDS), aclosing(watch_registry(file, Settings(), seen="another")) as changes:
        assert await _names(changes) == ["first"]


async def test_a_mounted_config_map_is_read_again_when_its_links_are_turned(tmp_path: Path) -> None:
    """Kubernetes: ``models.yaml -> ..data/models.yaml`` and ``..data -> ..TIME``, which is swapped by rename."""
    directory = tmp_path / "mounted"
    for version in ("one", "two", "three"):
        (directory / f"..{version}").mkdir(parents=True)
        (directory / f"..{version}" / "models.yaml").write_text(_text(version))
    data, file = directory / "..data", directory / "models.yaml"
    data.symlink_to("..one")
    file.symlink_to("..data/models.yaml")
    async with _watching(file) as changes:
        for version in ("two", "three"):
            new = directory / "..data_tmp"
            new.symlink_to(f"..{version}")
            new.rename(data)
            assert await _names(changes) == [version]


async def test_the_target_of_a_link_may_change_where_it_is(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "linked" / "models.yaml"
    link.parent.mkdir()
    link.symlink_to(file)
    async with _watching(link) as changes:
        _replace(file, _text("second"))
        assert await _names(changes) == ["second"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for Linux's watches")
async def test_a_cancelled_watch_leaves_nothing_behind(file: Path) -> None:
    seen = read_registry(file, Settings()).digest
    await eventually_async(lambda: _watches() == 0)  # those of other tests end
    tasks = asyncio.all_tasks()

    async def watch() -> None:
        async with aclosing(watch_registry(file, Settings(), seen=seen)) as changes:
            async for _ in changes:
                pass

    task = asyncio.create_task(watch())
    await eventually_async(lambda: _watches() == 1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert asyncio.all_tasks() == tasks
    await eventually_async(lambda: _watches() == 0)


def _watches() -> int:
    """How many threads of this process read the kernel's watches."""
    threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    return sum(name.startswith("notify-rs") for name in threads)


async def test_file_is_read_at_once_when_somebody_asks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RECHECK_MS", 1000 * SECONDS)
    again = asyncio.Event()
    async with asyncio.timeout(SECONDS / 2), aclosing(watching.watch_contents(file, again=again)) as contents:
        first = await anext(contents)
        for _ in range(2):
            again.set()
            assert await anext(contents) == first
