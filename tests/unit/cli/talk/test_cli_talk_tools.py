"""Tools in ``ask`` and ``chat``: what the options ask for, of a host and of a model of the command's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelhost.cli.main import app, main
from modelhost.tools.status import ServerState
from tests.unit.operations.fake_tools import FakeHub, server_status


def body_of(host: Any, *flags: str) -> dict[str, Any]:
    assert main(["ask", "--url", host.url, *flags, "Hi"]) == 0
    body: dict[str, Any] = host.requests[-1][2]
    return body


def test_no_tools_and_the_approval_are_fields_of_the_request(host: Any) -> None:
    assert not {"tools", "mcp"} & set(body_of(host))
    assert body_of(host, "--no-tools")["tools"] == []
    assert body_of(host, "--approval", "read_only")["mcp"] == {"approval": "read_only"}


def test_chat_sends_them_with_every_question(host: Any) -> None:
    result = CliRunner().invoke(app, ["chat", "--url", host.url, "--approval", "ask"], input="One?\nTwo?\n")
    assert result.exit_code == 0, result.output
    bodies = [body for path, _, body in host.requests if path == "/v1/chat/completions"]
    assert [body["mcp"] for body in bodies] == [{"approval": "ask"}] * 2


def test_options_that_contradict_each_other_are_refused(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--url", host.url, "--no-tools", "--approval", "ask", "Hi"]) == 1
    assert main(["ask", "--url", host.url, "--mcp-config", "mcp.json", "Hi"]) == 1
    assert host.requests == []
    said = capsys.readouterr().err
    assert "--no-tools leaves nothing" in said
    assert "--mcp-config is for a model that is started here" in said


def test_a_question_of_a_host_is_answered_at_its_endpoint(
    host: Any, stream_event: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    question = {"id": "q1", "kind": "approval", "server": "s", "tool": "rm", "arguments": {}, "annotations": {}}
    host.answer.stream.insert(0, stream_event({"choices": [], "modelhost.question": question}))
    host.answer.body = {"success": True, "id": "q1"}
    assert main(["ask", "--url", host.url, "Hi"]) == 0
    path, _, body = host.requests[-1]
    assert (path, body) == ("/v1/mcp/approvals/q1", {"approve": None})  # the tests are no terminal
    printed = capsys.readouterr()
    assert printed.out == "Hello.\n"
    assert "⚙ s.rm requests to run with {}" in printed.err


@pytest.fixture
def own_hub(own_llm: Any, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The servers of a model of the command's own."""
    failed = server_status("two", ServerState.FAILED, last_error="exited with status 1")
    hub = FakeHub(server_status("one"), failed, server_status("three", ServerState.DISABLED))
    begun = own_llm.__init__

    def begin(self: Any, model: str | None = None, **settings: Any) -> None:
        begun(self, model, **settings)
        self.host.tools = hub

    monkeypatch.setattr(own_llm, "__init__", begin)

    async def settled(_hub: FakeHub, _seconds: float) -> bool:
        return True

    monkeypatch.setattr(FakeHub, "settled", settled, raising=False)
    return hub


@pytest.mark.usefixtures("own_hub")
def test_a_model_of_its_own_gets_the_tools_of_the_file_that_is_here(
    own_llm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mcp.json").write_text('{"mcpServers": {}}')
    assert main(["ask", "Hi"]) == 0
    assert own_llm.configured == [{"mcp_config": "mcp.json"}]
    assert "warning: two exited with status 1\n" in capsys.readouterr().err


@pytest.mark.usefixtures("own_hub")
def test_a_file_that_is_named_means_a_model_of_its_own(
    host: Any, own_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelhost.cli.talk.options.DEFAULT_URL", host.url)
    assert main(["ask", "--mcp-config", "mine.json", "Hi"]) == 0
    assert own_llm.configured == [{"mcp_config": "mine.json"}]
    assert host.requests == []


def test_without_tools_no_server_is_started(own_llm: Any) -> None:
    Path("mcp.json").write_text('{"mcpServers": {}}')
    Path("modelhost.yaml").write_text("mcp_config: other.json\n")
    assert main(["ask", "--no-tools", "Hi"]) == 0
    assert own_llm.configured == [{}]
    assert own_llm.asked[0][1]["tools"] == []
