"""The commands that talk to a running host, against a host in memory behind a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner, Result

from modelhost.cli import running_host
from modelhost.cli.models.commands import COMMANDS
from modelhost.cli.models.status import event_line, format_memory
from modelhost.cli.operation_commands import add_commands
from modelhost.cli.running_host import RunningHost
from modelhost.engines.load_config import LoadConfig
from modelhost.errors import HostUnreachable, ModelFailed, ModelNotFound, ModelUnloaded, UnsupportedParameter
from modelhost.models.residency.status import ModelEvent, State
from modelhost.operations.models import INFO, OneModel
from modelhost.operations.reports import EventReport
from modelhost.operations.table import MODEL_OPERATIONS
from tests.support.fake_server import Served
from tests.unit.operations.fake_host import NOW, FakeHost, model_status, ready


def remote_commands() -> typer.Typer:
    app = typer.Typer()
    add_commands(app, "models", COMMANDS)
    return app


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    # Its log would go to the standard output that the commands write to.
    monkeypatch.setattr("modelhost.http.admin.operations.log", types.SimpleNamespace(info=lambda *_, **__: None))
    server = Served(FakeHost(ready("warm", aliases=("w",), in_flight=1), model_status("org/cold")))
    yield server
    server.stop()


@pytest.fixture
def run(served: Served) -> Callable[..., Result]:
    def invoke(*words: str) -> Result:
        result = CliRunner().invoke(remote_commands(), [*words, "--url", served.url])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def on_wait(host: FakeHost, what: Callable[[], None]) -> None:
    """Let a load go on as ``what`` says as soon as somebody listens."""
    subscribe = host.feed.subscribe

    def subscribe_and_go_on(first: Any) -> Any:
        asyncio.get_running_loop().call_later(0.01, what)
        return subscribe(first)

    cast("Any", host.feed).subscribe = subscribe_and_go_on


def test_every_command_has_the_summary_of_its_operation() -> None:
    shown = {command.name: command.help for command in remote_commands().registered_commands}
    assert shown == {each.command: f"{each.summary}." for each in MODEL_OPERATIONS if each.command}


def test_status_is_a_table_with_a_line_for_each_model(run: Callable[..., Result]) -> None:
    lines = run("status").output.splitlines()
    assert lines[1].split() == ["warm", "*", "ready", "150", "MB", "1", "0"]
    assert lines[2].split() == ["org/cold", "unloaded", "~", "121", "MB", "0", "0"]
    assert lines[3].split() == ["ram", "121", "MB", "of", "1,000", "MB"]


def test_status_as_json_is_the_hosts_answer(run: Callable[..., Result]) -> None:
    answer = json.loads(run("status", "--json").output)
    assert (answer["active_model"], answer["models"][1]["name"]) == ("warm", "org/cold")


@pytest.mark.parametrize("as_json", [True, False])
def test_watching_tells_events_until_the_host_stops(served: Served, as_json: bool) -> None:
    def go_on() -> None:
        served.host.feed.publish(ModelEvent(at=NOW, kind="registry", model="", message="line 3"))
        served.host.feed.close()

    on_wait(served.host, go_on)
    words = ["status", "--watch", "--url", served.url, *(["--json"] if as_json else [])]
    result = CliRunner().invoke(remote_commands(), words)
    assert isinstance(result.exception, HostUnreachable)
    assert "has stopped" in result.exception.message
    lines = result.output.splitlines()
    if as_json:
        told = [(event["model"], event["state"], event["message"]) for event in map(json.loads, lines)]
        assert told == [("warm", "ready", None), ("org/cold", "unloaded", None), ("", None, "line 3")]
    else:
        assert [line.split(" ", 1)[1] for line in lines] == ["warm ready", "org/cold unloaded", "registry line 3"]


def test_a_terminal_is_shown_a_table_that_follows(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def go_on() -> None:
        served.host.change("org/cold", State.FAILED)
        served.host.feed.close()

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    on_wait(served.host, go_on)
    shown = CliRunner().invoke(remote_commands(), ["status", "--watch", "--url", served.url]).output
    assert "Model" in shown
    assert "failed" in shown


def test_load_says_what_it_began(run: Callable[..., Result], served: Served) -> None:
    assert run("load", "org/cold").output == "org/cold: loading, about 2 s, 121 MB\n"
    assert served.host.asked == [("load", "org/cold", False)]


def test_load_of_a_model_that_the_host_adds_shows_its_download(run: Callable[..., Result], served: Served) -> None:
    result = run("load", "org/new")
    assert result.stdout == "org/new: loading, about 2 s, 121 MB\n"
    assert served.host.asked == [("add", "org/new"), ("load", "org/new", False)]
    assert result.stderr.splitlines()[-1] == "downloading a.gguf: 100 %"


def test_a_terminal_is_shown_a_bar_of_the_download(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.cli.console.stderr_is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = run("load", "org/new")
    assert result.stdout == "org/new: loading, about 2 s, 121 MB\n"
    assert "downloading a.gguf" in result.stderr


def test_load_and_wait_asks_for_the_same_configuration_twice(run: Callable[..., Result], served: Served) -> None:
    on_wait(served.host, lambda: served.host.change("org/cold", State.READY))
    run("load", "org/cold", "--wait", "--max-model-len", "512", "--no-enable-prefix-caching", "--persist")
    asked = (LoadConfig(max_model_len=512, enable_prefix_caching=False), True, False)
    assert served.host.configs == [asked, asked]


def test_a_reload_that_fails_is_an_error_of_who_waits_for_it(run: Callable[..., Result], served: Served) -> None:
    failed = ModelEvent(at=NOW, kind="reload_failed", model="org/cold", message="no luck")
    on_wait(served.host, lambda: served.host.feed.publish(failed))
    with pytest.raises(ModelFailed, match="no luck"):
        run("load", "org/cold", "--wait", "--max-model-len", "512")


def test_load_and_wait_returns_when_the_model_is_ready(run: Callable[..., Result], served: Served) -> None:
    def go_on() -> None:
        served.host.feed.publish(
            ModelEvent(at=NOW, kind="progress", model="org/cold", state=State.LOADING, activity="load", progress=0.5)
        )
        served.host.change("org/cold", State.READY)

    on_wait(served.host, go_on)
    result = run("load", "org/cold", "--wait")
    assert result.stdout == "org/cold: ready\n"
    assert "org/cold loading" in result.stderr


def test_load_and_wait_of_a_model_that_is_ready_does_not_listen(run: Callable[..., Result], served: Served) -> None:
    async def load(name: str, **asked: Any) -> Any:
        return await FakeHost.load(served.host, name, **{**asked, "wait": True})

    cast("Any", served.host).load = load
    assert json.loads(run("load", "w", "--wait", "--json").output)["status"] == "loaded"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"kind": "state", "state": State.FAILED, "message": "no memory"}, ModelFailed),
        ({"kind": "state", "state": State.UNLOADED}, ModelUnloaded),
        ({"kind": "removed"}, ModelNotFound),
    ],
    ids=str,
)
def test_a_load_that_comes_to_nothing_is_an_error(
    run: Callable[..., Result], served: Served, event: Any, expected: type[Exception]
) -> None:
    on_wait(served.host, lambda: served.host.feed.publish(ModelEvent(at=NOW, model="org/cold", **event)))
    with pytest.raises(expected, match=r"no memory|unloaded|registry"):
        run("load", "org/cold", "--wait")


def test_a_host_that_stops_during_a_load_is_an_error(run: Callable[..., Result], served: Served) -> None:
    # As a signal would: the stream ends though the host has not stopped yet.
    on_wait(served.host, lambda: threading.Thread(target=served.stop).start())
    with pytest.raises(HostUnreachable, match="before org/cold was ready"):
        run("load", "org/cold", "--wait")


def test_unload_select_and_set(run: Callable[..., Result], served: Served) -> None:
    assert run("unload", "w", "--force").output == "warm: unloaded, 150 MB freed\n"
    assert run("select", "org/cold").output == "org/cold: switching, 2 waiting\n"
    assert run("select", "org/cold").output == "org/cold: already active, 2 waiting\n"
    assert run("set", "w", "temperature=0.7", "max_tokens=5", "stop=end").output == (
        'max_tokens=5\ntemperature=0.7\nstop=["end"]\n'
    )
    assert run("set", "w", "temperature=null", "stop=null").output == "max_tokens=5\n"
    assert json.loads(run("set", "w", "top_k=3", "--json").output)["updated_config"] == {"max_tokens": 5, "top_k": 3}


def test_the_errors_of_the_host_are_raised_here(run: Callable[..., Result], served: Served) -> None:
    with pytest.raises(ModelNotFound, match="nobody"):
        run("load", "nobody")
    with pytest.raises(UnsupportedParameter, match="temperature"):
        run("set", "w", "temperatur=1")


def test_what_is_no_pair_is_refused(run: Callable[..., Result]) -> None:
    result = run("set", "warm", "temperature")
    assert (result.exit_code, "KEY=VALUE" in result.output) == (2, True)


def test_without_a_host_the_way_to_start_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_host, "DEFAULT_URL", "http://127.0.0.1:9")
    error = CliRunner().invoke(remote_commands(), ["status"]).exception
    assert isinstance(error, HostUnreachable)
    assert "modelhost serve" in error.message


def test_address_and_key_come_from_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELHOST_URL", served.url)
    assert CliRunner().invoke(remote_commands(), ["status"]).exit_code == 0


def test_names_with_slashes_stand_in_paths(served: Served) -> None:
    assert RunningHost(served.url).call(INFO, OneModel(model_id="org/cold")).model_id == "org/cold"


def test_an_answer_of_another_kind_is_an_error(host: Any) -> None:
    with pytest.raises(HostUnreachable, match="get-model-info"):
        RunningHost(host.url).call(INFO, OneModel(model_id="a"))


def test_memory_and_events_for_people() -> None:
    assert (format_memory(999), format_memory(9_999), format_memory(24_000)) == ("999 MB", "9,999 MB", "24.0 GB")
    told = EventReport(at=NOW, kind="progress", model="a", state=State.LOADING, activity="load", progress=0.256)
    assert event_line(told).split(" ", 1)[1] == "a loading 26 %"
    downloading = told.model_copy(update={"activity": "download", "progress": None})
    assert event_line(downloading).split(" ", 1)[1] == "a loading download"
    assert event_line(EventReport(at=NOW, kind="removed", model="a")).split(" ", 1)[1] == "a removed"
