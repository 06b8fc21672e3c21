"""`modelhost stats`: its table, its bars, its JSON, and both again and again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from modelhost.cli import monitor as stats
from modelhost.cli.main import app
from modelhost.cli.monitor import bars
from modelhost.errors import ModelNotFound
from tests.support.fake_server import Served
from tests.support.metric_history import memory_monitor
from tests.unit.monitor.conftest import Clock, record
from tests.unit.operations.fake_host import FakeHost

Run = Callable[..., Result]


@pytest.fixture
def host() -> FakeHost:
    """A host with requests at the beginning of the last minute, and 30 seconds later."""
    clock, host = Clock(), FakeHost()
    host.monitor = memory_monitor(clock)
    for seconds in (0.1, 0.2, 0.3):
        record(host.monitor, "first", seconds=seconds, tokens=60)
    clock.now += 30
    record(host.monitor, "first", seconds=20, tokens=120)
    record(host.monitor, "first", code="queue_full")
    clock.now += 29
    return host


@pytest.fixture
def run(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr("modelhost.http.admin.operations.log", SimpleNamespace(info=lambda *_, **__: None))
    server = Served(host)

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(app, ["stats", *words, "--url", server.url], env={"COLUMNS": "200"})

    yield invoke
    server.stop()


def test_a_table_has_a_row_for_each_model_and_one_for_all(run: Run) -> None:
    heading, model, everything, caption = run().output.splitlines()
    assert heading.split()[:4] == ["Model", "Requests", "Failed", "Tokens/s"]
    assert model.split()[:4] == ["first", "5", "1", "5.0"]
    assert everything.split()[:4] == ["all", "5", "1", "5.0"]
    assert model.split()[-2:] == ["0", "%"]
    assert caption.startswith("the last 60 s, memory")


def test_history_is_shown_as_bars_from_the_beginning_to_the_end(run: Run) -> None:
    *_, requests, tokens = (line.rstrip() for line in run("--include-history").output.splitlines())
    name, shown = tokens[:13], tokens[13:]
    assert name.strip() == "Tokens/s"
    assert (shown[0], shown[30]) == ("\u2586", "\u2588")  # the first part is of two seconds
    assert shown[1:30].strip() == shown[31:60].strip() == ""
    assert tokens.endswith("up to 120.0")
    assert requests.endswith("up to 2.0")


def test_bars_grow_with_the_values() -> None:
    assert bars([0, 0.01, 4, 8]) == " \u2581\u2584\u2588"
    assert bars([]) == ""
    assert bars([0, 0]) == "  "


def test_json_is_the_answer_of_the_host_and_one_model_can_be_selected(run: Run) -> None:
    found = json.loads(run("--json", "--model", "one", "--metrics", "latency").output)
    assert list(found["models"]) == ["first"]
    assert found["metrics"]["latency"]["count"] == 4
    assert found["metrics"]["throughput"] is None
    assert isinstance(run("--model", "none").exception, ModelNotFound)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_watching_shows_it_again_until_it_is_interrupted(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(stats, "time", SimpleNamespace(sleep=pause))
    output = run("--watch", *words).output
    if words:
        reports: list[Any] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert [report["metrics"]["requests"]["total"] for report in reports] == [5, 5, 5]
    else:
        assert output.count("the last 60 s") == 3
    assert set(pauses) == {stats.WATCH_SECONDS}
