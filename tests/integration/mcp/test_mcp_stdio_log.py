"""What ``modelhost mcp`` logs on standard error, over real pipes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mcp_stdio import StdioServer, own_host
from tests.support.processes import MARK
from tests.support.serving import ServedHost

FLUIDMCP = "fluidmcp-client"
SAID = "a sentence that no log repeats"
PIPE_BYTES = 65_536
Start = Callable[..., StdioServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``modelhost mcp llm`` with a host of its own and the scripted engine, and variables."""
    started: list[StdioServer] = []

    def begin(*arguments: str, **variables: str) -> StdioServer:
        given = arguments or tuple(own_host(tmp_path, engine="scripted", alias="scripted"))
        started.append(StdioServer("llm", *given, cwd=tmp_path, **variables))
        return started[-1]

    yield begin
    for server in started:
        server.close()


def logged(server: StdioServer) -> list[dict[str, Any]]:
    """What it wrote to standard error till now, line by line."""
    assert server.process.stderr is not None
    os.set_blocking(server.process.stderr.fileno(), False)
    return events_in(server.process.stderr.read())


def events_in(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if MARK not in line]


def of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def ended(server: StdioServer) -> list[dict[str, Any]]:
    """What it logged from its start to its end, which comes with that of its input."""
    server.stdin.close()
    assert server.process.wait(60) == 0
    return logged(server)


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


@pytest.mark.promise("vllm-mcp.variables.log-level")
def test_with_a_variable_of_vllm_it_tells_of_its_start_its_model_its_requests_and_its_end(start: Start) -> None:
    server = start(VLLM_DEFAULT_TEMPERATURE="0.5")
    server.greet(name="a test")
    server.chat("/echo hello")
    server.call("model_info")
    events = ended(server)
    assert {event["level"] for event in events} == {"info"}
    expected = ["mcp_started", "mcp_client", "worker_ready", "mcp_call", "mcp_call", "mcp_stopping", "mcp_stopped"]
    assert names(events) == expected
    began, client, ready, *_ = events
    assert (began["face"], began["host"], began["pid"]) == ("llm", "own", server.process.pid)
    assert (client["name"], client["protocol"]) == ("a test", "2025-11-25")
    assert ready["model"] == "scripted"
    assert [(event["operation"], event["outcome"]) for event in of(events, "mcp_call")] == [
        ("chat_completion", "ok"),
        ("model_info", "ok"),
    ]
    assert of(events, "mcp_stopping")[0]["reason"] == "the input has ended"


@pytest.mark.promise("vllm-mcp.shutdown.log")
def test_a_signal_is_named_and_the_end_is_in_good_order(start: Start) -> None:
    server = start(VLLM_DTYPE="half")
    server.greet()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    events = logged(server)
    assert names(events)[-2:] == ["mcp_stopping", "mcp_stopped"]
    assert events[-2]["reason"] == "SIGTERM"


@pytest.mark.parametrize(
    ("name", "variables", "is_quiet"),
    [
        pytest.param("a test", {}, True, id="nobody asked"),
        pytest.param(FLUIDMCP, {}, False, id="FluidMCP"),
        pytest.param(FLUIDMCP, {"VLLM_LOG_LEVEL": "WARNING"}, True, id="FluidMCP, and less is wanted"),
        pytest.param("a test", {"VLLM_MAX_SESSIONS": "5"}, False, id="a variable"),
        pytest.param("a test", {"VLLM_DTYPE": "half", "MODELHOST_LOG_LEVEL": "error"}, True, id="our own setting"),
    ],
)
def test_the_default_level_is_that_which_the_client_expects(
    start: Start, name: str, variables: dict[str, str], *, is_quiet: bool
) -> None:
    server = start(**variables)
    server.greet(version="2024-11-05", name=name)
    server.ask("tools/list")
    expected = [] if is_quiet else ["mcp_started", "mcp_client", "mcp_stopping", "mcp_stopped"]
    assert names(ended(server)) == expected


def test_debug_shows_the_conversation_without_its_contents(start: Start) -> None:
    server = start(VLLM_LOG_LEVEL="DEBUG")
    server.greet()
    server.chat(f"/echo {SAID}", session_id="secret-session")
    server.say("this is no message")
    server.line()
    server.ask("ping")
    server.say({"id": 99, "method": "no/such/method"})
    server.line()
    events = ended(server)
    told = [
        tuple(event[key] for key in ("way", "kind", "method", "tool", "code") if key in event)
        for event in of(events, "mcp_message")
    ]
    assert told == [
        ("in", "request", "initialize"),
        ("out", "answer"),
        ("in", "notification", "notifications/initialized"),
        ("in", "request", "tools/call", "chat_completion"),
        ("out", "answer"),
        ("in", "unreadable"),
        ("out", "error", -32700),
        ("in", "request", "ping"),
        ("out", "answer"),
        ("in", "request", "no/such/method"),
        ("out", "error", -32601),
    ]
    assert all(event["bytes"] > 0 for event in of(events, "mcp_message"))
    text = json.dumps(events)
    assert SAID not in text
    assert "secret-session" not in json.dumps(of(events, "mcp_message"))


@pytest.mark.parametrize(("level", "calls"), [("", 600), ("DEBUG", 100)])
def test_any_number_of_calls_of_fluidmcp_leaves_most_of_the_pipe_empty_and_the_log_goes_on_in_a_file(
    start: Start, tmp_path: Path, level: str, calls: int
) -> None:
    server = start(VLLM_LOG_LEVEL=level)
    server.greet(version="2024-11-05", name=FLUIDMCP)
    for number in range(calls):
        server.say({"id": number, "method": "tools/call", "params": {"name": "model_info", "arguments": {}}})
        assert server.line()["id"] == number
    assert server.process.stderr is not None
    server.stdin.close()
    assert server.process.wait(60) == 0
    text = server.process.stderr.read()
    assert len(text) < PIPE_BYTES / 2
    events = events_in(text)
    assert events[-1]["event"] == "log_goes_on"
    file = Path(events[-1]["path"])
    assert file.parent == tmp_path / "data" / "logs"
    assert file.stat().st_mode & 0o077 == 0
    kept = events_in(file.read_text("utf-8"))
    assert len(of(events, "mcp_call")) + len(of(kept, "mcp_call")) == calls, "a call is in neither"
    assert names(kept)[-1] == "mcp_stopped"
    assert bool(of(kept, "mcp_message")) is (level == "DEBUG")


def test_a_server_beside_a_host_tells_of_its_requests_too(start: Start, scripted_host: ServedHost) -> None:
    server = start("--url", scripted_host.url, VLLM_LOG_LEVEL="INFO")
    server.greet()
    server.chat("/echo hello")
    events = ended(server)
    assert names(events) == ["mcp_started", "mcp_client", "mcp_call", "mcp_stopping", "mcp_stopped"]
    assert events[0]["host"] == scripted_host.url


def test_a_server_beside_a_host_takes_the_level_of_our_own_variable(start: Start, scripted_host: ServedHost) -> None:
    server = start("--url", scripted_host.url, MODELHOST_LOG_LEVEL="info")
    assert names(ended(server)) == ["mcp_started", "mcp_stopping", "mcp_stopped"]
