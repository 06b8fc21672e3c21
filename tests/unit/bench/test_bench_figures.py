"""The arithmetic of the benchmark and its judgement, on made-up figures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from bench.figures import Measured, Row, Seen, Startup, percentile
from bench.loads import FIRST, FULL, STREAMS, loads
from bench.report import json_of, notes_of, startup_lines, tables_of, targets_of
from bench.sides import worker_ready_at
from bench.targets import checks_of, memory_check, startup_check


def seen(**changes: Any) -> Seen:
    figures: dict[str, Any] = {
        "requests": 1,
        "events": 1003,
        "seconds": 1.0,
        "first_token_p50": 0.001,
        "first_token_p95": 0.002,
        "between_p50": 0.01,
        "between_p95": 0.02,
        "client_cpu_seconds": 0.1,
    }
    return Seen(**(figures | changes))


def measured(**changes: Any) -> Measured:
    return Measured(seen=seen(**changes), cpu_seconds=0.5, rss_bytes=70_000_000)


def row(load: str = FULL, streams: int = 128, *, host_events: tuple[int, ...] = (903, 803, 703)) -> Row:
    bare = tuple(measured() for _ in host_events)
    return Row(load=load, streams=streams, bare=bare, host=tuple(measured(events=events) for events in host_events))


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 1.0), (0.75, 2.0), (0.95, 5.0), (1.0, 5.0)])
def test_percentile_counts_the_weights(share: float, value: float) -> None:
    assert percentile([(5.0, 1), (1.0, 5), (2.0, 4)], share) == value


def test_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 0.5) == 0.0


def test_ratio_is_the_median_of_the_rounds() -> None:
    assert row().ratio == pytest.approx(0.8)


def test_control_events_are_no_tokens() -> None:
    assert seen(requests=2, events=206, seconds=2.0).tokens_per_second == 100


def test_row_without_a_host_has_no_ratio_and_no_targets() -> None:
    alone = Row(load=FULL, streams=128, bare=(measured(),), host=())
    assert alone.ratio is None
    assert alone.added_first_token_seconds is None
    assert checks_of(alone) == ()
    assert memory_check([alone]) is None


def test_missed_and_reached_targets_are_told_apart() -> None:
    (reached,) = checks_of(row(host_events=(803,)))
    (missed,) = checks_of(row(host_events=(783,)))
    assert (reached.is_reached, missed.is_reached) == (True, False)
    assert (missed.measured, missed.target) == ("0.78", "at least 0.80")


def test_added_time_to_the_first_token_has_a_target_at_one_client() -> None:
    bare, host = measured(), measured(first_token_p50=0.0017)
    (check,) = checks_of(Row(load=FIRST, streams=1, bare=(bare,), host=(host,)))
    assert (check.measured, check.target, check.is_reached) == ("0.70 ms", "at most 0.60 ms", False)


def test_start_is_judged_from_the_worker_being_ready() -> None:
    startup = Startup(engine="scripted", worker_seconds=(1.0,), host_seconds=(3.0,), after_worker_seconds=(0.2,))
    check = startup_check(startup)
    assert check is not None
    assert check.is_reached
    assert "1.00 s" in startup_lines([startup])[0]
    assert startup_check(Startup(engine="x", worker_seconds=(1.0,), host_seconds=(), after_worker_seconds=())) is None


def test_moment_of_the_ready_worker_is_read_from_the_log() -> None:
    log = b'no json\n{"event": "worker_ready", "timestamp": "2026-11-21T13:00:26.500000Z"}\n'
    found = worker_ready_at(log)
    assert found is not None
    assert found.isoformat() == "2026-11-21T13:00:26.500000+00:00"
    assert worker_ready_at(b'{"event": "listening"}\n') is None


def test_report_shows_every_row_its_errors_and_a_busy_client() -> None:
    wrong = measured(errors={"ended before [DONE]": 2}, client_cpu_seconds=0.95)
    rows = [row(), Row(load=FIRST, streams=1, bare=(measured(),), host=(wrong,))]
    console = Console(width=150)
    with console.capture() as capture:
        for table in (*tables_of(rows), targets_of(rows, [])):
            console.print(table)
    text = capture.get()
    assert FULL in text
    assert "800" in text
    assert "reached" in text
    notes = notes_of(rows)
    assert any("2 x ended before [DONE]" in note for note in notes)
    assert any("95% of a core" in note for note in notes)


def test_json_holds_every_round_and_the_targets() -> None:
    startup = Startup(engine="scripted", worker_seconds=(1.0,), host_seconds=(3.0,), after_worker_seconds=(0.2,))
    result = json.loads(json.dumps(json_of([row()], [startup], {"machine": {"cores": 2}})))
    assert len(result["rows"][0]["host"]["rounds"]) == 3
    assert result["rows"][0]["targets"][0]["is_reached"]
    assert result["startup"][0]["target"]["is_reached"]
    assert result["machine"] == {"cores": 2}


@pytest.mark.parametrize("quick", [True, False])
def test_loads_cover_both_engines_at_all_numbers_of_streams(quick: bool) -> None:
    found = loads(quick=quick)
    assert {load.engine for load in found} == {"scripted", "llamacpp"}
    assert all(load.streams == STREAMS for load in found if load.name != FIRST)
