"""A terminal talk in which a tool runs that somebody has to agree to: with a host, and with a model of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhost.cli.running_host import BlockingClient, RunningHost
from modelhost.cli.talk.answers import stream_text
from modelhost.cli.talk.person import TerminalUser
from modelhost.client.local import LocalClient
from modelhost.exchange.caller import NOBODY
from modelhost.llm import LLM
from tests.support import mcp_peers
from tests.support.eventually import eventually
from tests.support.serving import ServedHost

MESSAGES = [{"role": "user", "content": "Say hi with a tool."}]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Of a host whose model calls ``echo``, which has to be agreed to."""
    stub = {"command": sys.executable, "args": [str(mcp_peers.HERE / "mcp_stub.py"), "{}"], "approval": "ask"}
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"stub": stub}}))
    calls = [{"name": "stub_echo", "arguments": {"text": "hi there"}}]
    return {"engine": "scripted", "engine_options": {"tool_calls": calls}, "mcp_config": str(file)}


def person(answer: str) -> TerminalUser:
    return TerminalUser(is_there=True, read_line=lambda _prompt: answer)


@pytest.mark.parametrize(("answer", "shown"), [("y", "→ hi there"), ("n", "→ failed: The call did not run")])
def test_a_model_of_ones_own_runs_what_the_person_agrees_to(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str], answer: str, shown: str
) -> None:
    with LLM(**settings) as llm:
        assert llm.wait_for(llm.host.tools.settled(20))
        assert "".join(stream_text(BlockingClient(LocalClient(llm.host, NOBODY), llm), MESSAGES, {}, person(answer)))
    noted = capsys.readouterr().err
    assert '⚙ stub.echo requests to run with {"text": "hi there"}' in noted
    assert shown in noted


def test_a_host_runs_what_the_person_agrees_to(
    settings: dict[str, Any], start_host: Callable[..., ServedHost], capsys: pytest.CaptureFixture[str]
) -> None:
    host = start_host(**settings)
    eventually(lambda: len(host.http.get("/v1/mcp/tools").json()["data"]) > 0, seconds=20)
    assert "".join(stream_text(RunningHost(host.url), MESSAGES, {}, person("yes")))
    assert "→ hi there" in capsys.readouterr().err
