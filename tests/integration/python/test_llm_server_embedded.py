"""What LLM-Server's contract brings to a host in a program of one's own: a log file, and tools that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelhost.errors import ConfigError
from modelhost.host import Host
from modelhost.tools.status import ServerState
from tests.support.tool_hosts import config, stub_server


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


async def test_the_log_of_a_host_is_in_its_file_when_the_host_has_stopped(tmp_path: Path) -> None:
    path = tmp_path / "host.log"
    async with Host(engine="scripted", log_file=str(path), engine_options={"stderr_lines": 3}):
        pass
    found = [line["event"] for line in events(path)]
    assert found.count("worker_log") == 3
    assert "worker_ready" in found


async def test_the_log_names_the_threads_of_a_worker(tmp_path: Path) -> None:
    path = tmp_path / "host.log"
    async with Host(log_file=str(path), context_length=512, threads=1):
        pass
    (ready,) = [line for line in events(path) if line["event"] == "worker_ready"]
    assert ready["threads"] == 1


async def test_a_host_that_cannot_start_closes_its_log_file(tmp_path: Path) -> None:
    path = tmp_path / "host.log"
    for _ in range(2):
        with pytest.raises(ConfigError):
            await Host(engine="scripted", log_file=str(path), engine_options={"no_such": 1}).start()
    path.unlink()
    async with Host(engine="scripted", log_file=str(path)):
        pass
    assert events(path)


@pytest.mark.promise("candle-vllm.injection.at-start")
async def test_with_wait_for_tools_they_are_there_when_the_host_has_started(tmp_path: Path) -> None:
    settings = {"engine": "scripted", "mcp_config": config(tmp_path, stub=stub_server())}
    async with Host(**settings, wait_for_tools=True) as host:
        assert [status.state for status in host.toolbox.hub.statuses()] == [ServerState.READY]
