"""At the level "debug" the log says what was decided and why, and nothing of what was said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.registries import chat, scripted, write_registry
from tests.support.serving import ServedHost
from tests.support.tool_hosts import config, stub_server, wait_for_tools

SAID = "nobody-repeats-this"
SESSION = "a-session"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with room for one of two models, which has seen something of everything."""
    folder = tmp_path_factory.mktemp("debug")
    registry = write_registry(folder / "models.yaml", scripted("ant"), scripted("bee"), default_model="ant")
    servers = {"free": stub_server(tools=["echo"]), "strict": {**stub_server(tools=["fail"]), "approval": "deny"}}
    path = config(folder, **servers)
    with ServedHost(models_config=registry, mcp_config=path, max_models=1, log_level="debug") as started:
        wait_for_tools(started)
        assert chat(started, "ant", f"/echo {SAID}", session_id=SESSION, tools=[]).status_code == 200
        assert chat(started, "ant", f"/echo {SAID} again", session_id=SESSION, tools=[]).status_code == 200
        assert chat(started, "bee", f'/call free_echo {{"text": "{SAID}"}}').status_code == 200
        assert chat(started, "bee", f'/call strict_fail {{"text": "{SAID}"}}').status_code == 200
        yield started


def told(host: ServedHost, event: str, *fields: str) -> list[tuple[Any, ...]]:
    """The given fields of all events called ``event``."""
    return [tuple(entry.get(field) for field in fields) for entry in host.log_events(event)]


@pytest.mark.promise("vllm-crush.logging.debug")
def test_scheduling_says_who_waits_who_makes_room_and_for_whom(host: ServedHost) -> None:
    assert ("bee", 1, "fetching") in told(host, "request_waits", "model", "position", "phase")
    assert told(host, "model_to_be_unloaded", "model", "reason", "room_for") == [("ant", "evicted", "bee")]
    loads = told(host, "model_to_be_loaded", "model", "budget_bytes", "is_smaller")
    assert [name for name, _, _ in loads] == ["ant", "bee"]
    assert loads[0][1]["models"] == 1
    assert ("bee", 1) in told(host, "request_granted", "model", "in_flight")


def test_engines_say_which_was_chosen_why_and_how_large_the_model_becomes(host: ServedHost) -> None:
    reason = "the model is one of its own"
    chosen = told(host, "engine_chosen", "model", "engine", "reason")
    assert ("ant", "scripted", reason) in chosen
    assert {name for (name,) in told(host, "model_sized", "model")} == {"ant", "bee"}


def test_sessions_say_how_a_request_goes_on_with_them(host: ServedHost) -> None:
    found = told(host, "session_continued", "session", "model", "stored", "new")
    assert found == [(SESSION, "ant", 0, 1), (SESSION, "ant", 2, 1)]
    assert told(host, "session_stored", "session", "added") == [(SESSION, 2), (SESSION, 2)]


def test_tools_say_who_gets_which_what_may_run_and_how_it_went(host: ServedHost) -> None:
    assert told(host, "tools_not_offered", "reason") == [("the request says which it has",)] * 2
    assert told(host, "tools_offered", "servers", "reason") == [({"free": 1, "strict": 1}, "all there are")] * 2
    judged = told(host, "tool_call_judged", "server", "tool", "verdict", "approval")
    assert judged == [("free", "echo", "run", "auto"), ("strict", "fail", "deny", "deny")]
    called = told(host, "tool_call", "server", "tool", "outcome")
    assert called == [("free", "echo", "ok"), ("strict", "fail", "tool_denied")]
    assert told(host, "tool_loop_ended", "finish_reason", "kind") == [("stop", None)] * 2


def test_nothing_that_was_said_is_in_it(host: ServedHost) -> None:
    assert SAID not in host.stderr
