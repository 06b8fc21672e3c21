"""`mcp.json` is read again when it, or the ``.env`` beside it, changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from modelhost.errors import ConfigError
from modelhost.tools import servers_file
from modelhost.tools.servers_file import ToolServers, digest_of, read_servers, watch_servers


def write(path: Path, **servers: object) -> None:
    path.write_text(json.dumps({"mcpServers": servers}), "utf-8")


async def following(news: AsyncIterator[ToolServers | ConfigError]) -> ToolServers | ConfigError:
    async with asyncio.timeout(60):
        return await anext(news)


async def test_changes_of_the_file_and_of_its_dotenv_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, has_looked = asyncio.get_running_loop(), asyncio.Event()

    def noted(content: bytes, path: Path) -> str:
        loop.call_soon_threadsafe(has_looked.set)
        return digest_of(content, path)

    path = tmp_path / "mcp.json"
    write(path, a={"command": "x", "args": ["${KEY}"]})
    seen = read_servers(path, {})
    monkeypatch.setattr(servers_file, "digest_of", noted)
    assert seen.servers[0].why_disabled is not None
    async with aclosing(watch_servers(path, {}, seen=seen.digest)) as news:
        waiting = asyncio.create_task(following(news))
        async with asyncio.timeout(60):
            await has_looked.wait()  # the same content is no news
        (tmp_path / ".env").write_text("KEY=value", "utf-8")
        found = await waiting
        assert isinstance(found, ToolServers)
        assert found.servers[0].is_enabled

        new = tmp_path / "new.json"
        write(new, a={"command": "x"}, b={"command": "y"})
        new.rename(path)
        found = await following(news)
        assert isinstance(found, ToolServers)
        assert [server.name for server in found.servers] == ["a", "b"]

        path.write_text("{", "utf-8")
        assert isinstance(await following(news), ConfigError)
        path.unlink()
        gone = await following(news)
        assert isinstance(gone, ConfigError)
        assert "No such file" in gone.message
