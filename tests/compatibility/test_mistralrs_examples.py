"""The examples of mistral.rs: its file of MCP servers, and options of its server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelhost.cli.main import main
from tests.compatibility.examples import commands_of, settings_of, text_of
from tests.support.npx import npx_path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the file of the document."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mcp-config.json").write_text(text_of("mistralrs/mcp-config.json"), "utf-8")
    return tmp_path


@pytest.mark.promise("mistralrs.mcp.file")
def test_the_servers_of_the_document_give_their_tools(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", npx_path(folder / "bin"))
    assert main(["tools", "list", "--config", "mcp-config.json", "--json"]) == 0
    names = [tool["function"]["name"] for tool in json.loads(capsys.readouterr().out)["data"]]
    assert "Filesystem_read_text_file" in names


@pytest.mark.parametrize(
    ("example", "number", "settings"),
    [
        pytest.param("direct-binary-usage.sh", 2, {"port": 1234}, marks=pytest.mark.promise("mistralrs.run.port")),
        pytest.param(
            "direct-binary-usage.sh",
            3,
            {"port": 1234, "mcp_config": "mcp-config.json"},
            marks=pytest.mark.promise("mistralrs.run.mcp-config"),
        ),
        pytest.param("mcp-server.sh", 0, {"mcp_port": 4321}, marks=pytest.mark.promise("mistralrs.mcp.port")),
    ],
)
def test_the_options_of_the_server_are_those_of_serve(
    example: str, number: int, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = commands_of(f"mistralrs/{example}")[number]
    assert program.endswith("mistralrs-server")
    # The options of the server stand before the word that says of which kind the model is.
    kind = next(place for place, word in enumerate(words) if word in ("gguf", "plain"))
    found = settings_of(words[:kind], capsys)
    assert {key: found[key] for key in settings} == settings
