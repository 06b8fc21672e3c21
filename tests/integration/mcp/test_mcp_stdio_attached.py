"""``modelhost mcp`` attached to a running host, over real pipes and a real socket."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelhost.cli import mcp as command
from modelhost.errors import ConfigError
from tests.support.eventually import eventually
from tests.support.mcp_peers import free_port
from tests.support.mcp_stdio import StdioServer, stdio_server
from tests.support.processes import is_worker
from tests.support.serving import ServedHost

LONG = "/slow 20 /tokens 400 go"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host that no test here damages."""
    folder = tmp_path_factory.mktemp("attached")
    with ServedHost(engine="scripted", alias=["scripted", "nick"], data_dir=str(folder)) as started:
        yield started


@pytest.fixture
def server(host: ServedHost, tmp_path: Path) -> Iterator[StdioServer]:
    with stdio_server("all", "--url", host.url, cwd=tmp_path) as started:
        started.greet()
        yield started


def chat_request(text: str, key: str = "long", **meta: Any) -> dict[str, Any]:
    arguments = {"messages": [{"role": "user", "content": text}]}
    params = {"name": "chat_completion", "arguments": arguments, **({"_meta": meta} if meta else {})}
    return {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}


def test_calls_are_made_by_the_host(host: ServedHost, server: StdioServer) -> None:
    before = host.metric("modelhost_requests_total", operation="chat")
    assert server.chat("/echo over the wire") == "over the wire"
    assert [member for member in server.members() if is_worker(member)] == []
    host.wait_for_metric("modelhost_requests_total", before + 1, operation="chat")
    (model,) = server.call("list-models")["structuredContent"]["models"]
    assert (model["id"], model["status"]) == ("scripted", "loaded")
    assert server.call("get-model-info", model_id="nick")["structuredContent"]["model_id"] == "scripted"
    assert server.call("model_info")["structuredContent"]["model_name"] == "scripted"


def test_what_is_set_counts_for_the_next_call(server: StdioServer) -> None:
    assert server.chat("/tokens 9 go", session_id=None)
    server.call("set-model-config", model_id="scripted", config={"max_tokens": 2})
    usage = server.call("chat_completion", messages=[{"role": "user", "content": "/tokens 9 go"}])
    server.call("set-model-config", model_id="scripted", config={"max_tokens": None})
    assert usage["structuredContent"]["usage"]["completion_tokens"] == 2


def test_errors_are_those_of_the_host(server: StdioServer) -> None:
    for tool, arguments, code in (
        ("chat_completion", {"messages": [{"role": "user", "content": "Hi"}], "model": "none"}, "MODEL_NOT_FOUND"),
        ("unload-model", {"model_id": "none"}, "MODEL_NOT_FOUND"),
        ("chat_completion", {"messages": [{"role": "user", "content": "/crash 2 x"}]}, "WORKER_CRASHED"),
        ("chat_completion", {"messages": [{"role": "user", "content": "/error 500 x"}]}, "ENGINE_ERROR"),
    ):
        result = server.call(tool, **arguments)
        assert result["isError"] is True
        assert result["structuredContent"]["error"]["code"] == code
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


@pytest.mark.promise("vllm-mcp.no-streaming")
def test_tokens_come_as_progress(server: StdioServer) -> None:
    server.say(chat_request("/slow 50 /echo one two three", "p", progressToken="token"))
    told = []
    while (message := server.line()).get("id") != "p":
        told.append(message)
    assert all(message["method"] == "notifications/progress" for message in told)
    assert "".join(message["params"]["message"] for message in told) == "one two three"
    assert message["result"]["content"][0]["text"] == "one two three"


def test_a_cancelled_call_ends_the_generation_on_the_host(host: ServedHost, server: StdioServer) -> None:
    before = host.metric("modelhost_cancelled_total")
    server.say(chat_request(LONG, progressToken=1))
    server.line()
    server.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "long"}})
    host.wait_for_metric("modelhost_cancelled_total", before + 1)
    server.say({"jsonrpc": "2.0", "id": "after", "method": "ping"})
    while (answer := server.line()).get("id") != "after":
        assert answer["method"] == "notifications/progress"  # written before the call was cancelled


def test_the_end_of_the_server_ends_the_generation_on_the_host(host: ServedHost, server: StdioServer) -> None:
    before = host.metric("modelhost_cancelled_total")
    server.say(chat_request(LONG, progressToken=1))
    server.line()
    server.process.terminate()
    assert server.process.wait(20) == 0
    host.wait_for_metric("modelhost_cancelled_total", before + 1)


def test_a_killed_host_costs_one_call_and_the_next_one_is_answered_by_its_successor(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    settings = {"engine": "scripted", "alias": ["scripted"], "port": free_port(), "data_dir": str(tmp_path / "data")}
    first = start_host(**settings)
    with stdio_server("llm", "--url", first.url, cwd=tmp_path) as server:
        server.greet()
        server.say(chat_request(LONG, progressToken=1))
        server.line()
        first.process.kill()
        while (answer := server.line()).get("id") != "long":
            pass
        lost = answer["result"]["structuredContent"]["error"]
        assert lost["code"] == "HOST_UNREACHABLE"
        assert lost["details"]["suggestion"]
        refused = server.call("chat_completion", messages=[{"role": "user", "content": "Hi"}])
        assert refused["structuredContent"]["error"]["code"] == "HOST_UNREACHABLE"
        start_host(**settings)
        assert server.chat("/echo back again") == "back again"


def test_a_host_that_is_not_there_yet_is_no_obstacle_to_the_handshake(tmp_path: Path) -> None:
    with stdio_server("llm", "--url", f"127.0.0.1:{free_port()}", cwd=tmp_path) as server:
        server.greet()
        assert server.ask("tools/list")["result"]["tools"]
        refused = server.call("model_info")
        assert refused["structuredContent"]["error"]["code"] == "HOST_UNREACHABLE"


@pytest.mark.promise("vllm-crush.security.keys")
def test_the_key_of_the_environment_is_sent_and_a_wrong_one_is_an_error_of_the_call(
    start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    host = start_host(engine="scripted", alias=["scripted"], api_keys=["sesame"], data_dir=str(tmp_path / "data"))
    with stdio_server("llm", "--url", host.url, cwd=tmp_path, MODELHOST_API_KEY="sesame") as server:
        assert server.chat("/echo open") == "open"
    with stdio_server("llm", cwd=tmp_path, MODELHOST_URL=host.url) as server:
        refused = server.call("model_info")
        assert refused["structuredContent"]["error"]["code"] == "INVALID_API_KEY"


def test_a_host_at_the_default_address_is_taken_if_it_has_the_model(
    host: ServedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "DEFAULT_URL", host.url)
    monkeypatch.delenv("MODELHOST_URL", raising=False)

    def url(model: str | None = None, config: Path | None = None) -> str | None:
        found = command.running_host(model, None, None, config)
        return found.url if found else None

    assert url() == url("scripted") == url("nick") == host.url
    assert url("another") is None
    assert url(config=Path("own.yaml")) is None
    monkeypatch.setattr(command, "DEFAULT_URL", f"http://127.0.0.1:{free_port()}")
    assert url() is None


def test_a_wrong_address_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="not the address of a host"):
        command.running_host(None, "ftp://host", None, None)


def test_a_session_is_the_hosts(host: ServedHost, server: StdioServer) -> None:
    server.chat("/echo one", session_id="s")
    eventually(lambda: host.http.get("/v1/sessions/s").json().get("message_count") == 2)
    server.process.terminate()
    server.process.wait(20)
    assert host.http.get("/v1/sessions/s").json()["message_count"] == 2


def test_a_folder_that_cannot_be_written_is_no_obstacle_to_attaching(host: ServedHost, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    with stdio_server("llm", "--url", host.url, cwd=gone) as server:
        shutil.rmtree(gone)
        assert server.chat("/echo fine") == "fine"


def test_resources_are_those_of_the_host(server: StdioServer) -> None:
    server.chat("/echo hello", session_id="a/b c")
    server.call("save-state", session_id="kept")
    listed = {found["uri"] for found in server.ask("resources/list")["result"]["resources"]}
    assert {"model://scripted/config", "model://scripted/logs", "state://sessions"} <= listed
    for uri, expected in (
        ("model://scripted/config", "defaults"),
        ("model/scripted/config", "defaults"),
        ("model://scripted/logs", "events"),
        ("state://sessions", "kept"),
        ("state://session/kept/summary", "kept"),
        ("state/session/kept/summary", "kept"),
    ):
        (content,) = server.ask("resources/read", {"uri": uri})["result"]["contents"]
        assert expected in content["text"]
        assert isinstance(json.loads(content["text"]), dict)
    missing = server.ask("resources/read", {"uri": "state://session/none/summary"})
    assert missing["error"]["data"]["code"] == "STATE_NOT_FOUND"
