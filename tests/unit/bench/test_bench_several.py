"""The rows of several models: their arithmetic and judgement on made-up figures, and the real thing once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.__main__ import main
from bench.alternation import CLIENTS, Alternation, pace_of
from bench.figures import Seen
from bench.first_use import FirstUse
from bench.models_report import alternation_table, first_use_table, models_checks, models_json, models_notes
from bench.targets import first_use_check, together_check


def first_use(**changes: Any) -> FirstUse:
    seconds: dict[str, Any] = {
        "worker_seconds": (0.40, 0.50, 0.60),
        "host_seconds": (0.44, 0.52, 0.61),
        "swap_seconds": (0.50, 0.60, 0.70),
        "first_seconds": 0.45,
    }
    return FirstUse(**(seconds | changes))


def seen(requests: int, *, seconds: float = 2.0, errors: dict[str, int] | None = None) -> Seen:
    return Seen(
        requests=requests,
        events=0,
        seconds=seconds,
        first_token_p50=0.004,
        first_token_p95=0.008,
        between_p50=0.001,
        between_p95=0.002,
        client_cpu_seconds=0.1,
        errors=errors or {},
    )


def alternation(*, apart: int = 100, together: int = 98, **changes: Any) -> Alternation:
    values: dict[str, Any] = {
        "clients": 8,
        "apart": (seen(apart),),
        "together": (seen(together),),
        "in_turns": seen(60),
        "swaps": 5,
    }
    return Alternation(**(values | changes))


def test_host_adds_the_median_of_the_rounds_differences() -> None:
    assert first_use().added_seconds == pytest.approx(0.02)


@pytest.mark.parametrize(("host_seconds", "is_reached"), [((0.45,), True), ((0.47,), False)])
def test_model_that_is_not_loaded_has_a_target(host_seconds: tuple[float, ...], is_reached: bool) -> None:
    check = first_use_check(first_use(worker_seconds=(0.40,), host_seconds=host_seconds))
    assert (check.target, check.is_reached) == ("at most 60 ms", is_reached)


def test_request_that_failed_is_not_counted_as_answered() -> None:
    assert seen(10, errors={"HTTP/1.1 503 Service Unavailable": 4}).requests_per_second == 3


@pytest.mark.parametrize(("together", "is_reached"), [(97, True), (96, False)])
def test_one_host_for_two_models_has_a_target(together: int, is_reached: bool) -> None:
    check = together_check(alternation(together=together))
    assert check is not None
    assert (check.target, check.is_reached) == ("at least 0.97", is_reached)


def test_row_in_which_nothing_was_answered_has_no_target() -> None:
    assert together_check(alternation(apart=0)) is None


def test_requests_are_told_for_one_swap() -> None:
    assert alternation().requests_per_swap == 12
    assert alternation(swaps=0).requests_per_swap is None


def test_report_shows_both_rows_their_targets_and_the_errors() -> None:
    rows = [alternation(together=90), alternation(in_turns=seen(3, errors={"TimeoutError": 2}))]
    console = Console(width=150)
    with console.capture() as capture:
        console.print(first_use_table(first_use()))
        console.print(alternation_table(rows))
    text = capture.get()
    assert "+20" in text
    assert "0.900" in text
    assert [check.is_reached for _, check in models_checks(first_use(), rows)] == [True, False, True]
    assert any("2 x TimeoutError" in note for note in models_notes(rows))


def test_json_holds_every_round_and_the_targets() -> None:
    result = json.loads(json.dumps(models_json(first_use(), [alternation()])))
    assert result["first_use"]["target"]["is_reached"]
    assert result["alternation"][0]["apart"][0]["requests_per_second"] == 50
    assert result["alternation"][0]["target"]["is_reached"]
    assert models_json(None, []) == {"first_use": None, "alternation": []}


@pytest.mark.parametrize("quick", [True, False])
def test_alternation_is_measured_in_less_than_a_minute(quick: bool) -> None:
    pace = pace_of(quick=quick, rounds=3)
    assert len(CLIENTS) * (pace.rounds * 2 * pace.seconds + pace.in_turns_seconds) < 60


def test_missing_model_is_a_line_in_the_report_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    which = ["--only", "unloaded", "--only", "alternating", "--model", str(tmp_path / "none.gguf")]
    main([*which, "--output", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "unloaded: " in said
    assert "alternating: " in said


def test_model_that_is_not_loaded_is_measured_beside_a_spawned_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--quick", "--rounds", "1", "--only", "unloaded", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert result["problems"] == []
    assert len(result["first_use"]["worker_seconds"]) == len(result["first_use"]["swap_seconds"]) == 3
    assert "nano, not loaded" in capsys.readouterr().out
