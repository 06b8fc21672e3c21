"""Files that a host is given as `~/...`, by whoever makes it: a shell has not always been there before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelhost import Host


async def test_a_host_finds_its_files_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"off": {"command": "cat", "disabled": True}}}))
    (tmp_path / "models.yaml").write_text("models:\n  - {name: ant, engine: scripted}\n")
    host = Host(engine="scripted", mcp_config="~/mcp.json", models_config="~/models.yaml")
    await host.start()
    try:
        assert [status.name for status in host.toolbox.hub.statuses()] == ["off"]
        assert host.toolbox.path == tmp_path / "mcp.json"
        assert [model.name for model in host.models] == ["ant"]
    finally:
        await host.stop()
