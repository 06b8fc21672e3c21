"""The rows of the doors: their arithmetic and judgement on made-up figures, and the real thing once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.__main__ import main
from bench.doors import EVENTS, RELAYED, STREAMS, WAYS, DoorCosts, DoorRow, Way, effort_of
from bench.doors_report import doors_checks, doors_json, doors_notes, doors_table
from bench.figures import CHAT, DOORS, MESSAGES, OLLAMA, RESPONSES, Measured, Seen

BY_NAME = {way.name: way for way in WAYS}
(MESSAGES_WAY,) = (way for way in WAYS if way.door == MESSAGES)
(OLLAMA_WAY,) = (way for way in WAYS if way.door == OLLAMA)


def measured(way: Way, *, cpu: float = 0.02, errors: dict[str, int] | None = None) -> Measured:
    """One run of two answers of 1,000 tokens each, with ``cpu`` seconds for each."""
    seen = Seen(
        requests=2,
        events=2 * (1000 + way.control_events),
        seconds=1.0,
        first_token_p50=0.0,
        first_token_p95=0.0,
        between_p50=0.0,
        between_p95=0.0,
        client_cpu_seconds=0.1,
        errors=errors or {},
    )
    return Measured(seen=seen, cpu_seconds=2 * cpu, rss_bytes=1)


def row(way: Way, first: tuple[float, ...], cpu: tuple[float, ...]) -> DoorRow:
    runs = tuple(measured(way, cpu=each) for each in cpu)
    return DoorRow(way=way, first_tokens=first, full={1: runs, 8: runs})


def costs(
    first: tuple[float, ...] = (0.0022, 0.0012, 0.0032), cpu: tuple[float, ...] = (0.021, 0.042, 0.011)
) -> DoorCosts:
    """Three rounds, of which the machine did the second at half its speed."""
    chat = (0.001, 0.003, 0.002)
    return DoorCosts(
        rows=(
            row(BY_NAME[RELAYED], chat, (0.003, 0.006, 0.0015)),
            row(BY_NAME[EVENTS], chat, (0.02, 0.04, 0.01)),
            row(MESSAGES_WAY, first, cpu),
        ),
        left_out=(OLLAMA_WAY,),
    )


def test_cpu_is_that_of_1000_tokens_without_the_other_events() -> None:
    assert row(MESSAGES_WAY, (0.001,), (0.02, 0.03)).cpu_per_1000_tokens(8) == pytest.approx((0.02, 0.03))


def test_first_tokens_are_those_of_all_requests() -> None:
    found = costs(first=(0.0011, 0.0039, 0.0023))
    (anthropic,) = found.others
    assert (anthropic.first_token(0.5), anthropic.first_token(0.99)) == (0.0023, 0.0039)
    assert found.added_first_token_seconds(anthropic) == pytest.approx(0.0003)


def test_cpu_is_compared_round_by_round() -> None:
    found = costs(cpu=(0.02, 0.044, 0.02))
    (anthropic,) = found.others
    assert found.cpu_ratio(anthropic, 1) == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (costs(), []),
        (costs(first=(0.0014, 0.0024, 0.0034)), [f"added to the first token, over {RELAYED}"]),
        (
            costs(cpu=(0.023, 0.046, 0.0115)),
            [f"CPU over {EVENTS}, 1 stream", f"CPU over {EVENTS}, 8 streams"],
        ),
    ],
)
def test_each_figure_has_its_target(found: DoorCosts, missed: list[str]) -> None:
    assert [check.what for _, check in doors_checks(found) if not check.is_reached] == missed
    assert {where for where, _ in doors_checks(found)} == {MESSAGES_WAY.name}


def test_report_and_json_show_every_way_and_what_was_left_out() -> None:
    console = Console(width=150)
    with console.capture() as capture:
        console.print(doors_table(costs()))
    for name in (RELAYED, EVENTS, MESSAGES_WAY.name):
        assert name in capture.get()
    assert doors_notes(costs()) == [f"{OLLAMA_WAY.name}: not measured; /api/chat answers 404"]
    result: dict[str, Any] = json.loads(json.dumps(doors_json(costs())))["doors"]
    assert [len(each["first_tokens"]) for each in result["rows"]] == [3, 3, 3]
    assert [len(each["targets"]) for each in result["rows"]] == [0, 0, 3]
    assert result["left_out"] == [OLLAMA_WAY.name]
    assert (doors_json(None), doors_checks(None), doors_notes(None)) == ({"doors": None}, [], [])


def test_errors_are_noted() -> None:
    wrong = measured(MESSAGES_WAY, errors={"TimeoutError": 2})
    rows = (DoorRow(way=MESSAGES_WAY, first_tokens=(0.001,), full={8: (wrong,)}),)
    assert doors_notes(DoorCosts(rows=rows, first_token_errors={"TimeoutError": 1})) == [
        "first tokens of the doors: 1 x TimeoutError",
        f"{MESSAGES_WAY.name}, 8 streams: 2 x TimeoutError",
    ]


def test_ways_ask_for_the_same_answer() -> None:
    loads = [way.load() for way in WAYS]
    assert len({load.body[DOORS[load.door].messages_field][0]["content"] for load in loads}) == 1
    assert {load.door for load in loads} == set(DOORS) == {CHAT, RESPONSES, MESSAGES, OLLAMA}


@pytest.mark.parametrize("quick", [True, False])
def test_effort_is_bounded(quick: bool) -> None:
    effort = effort_of(quick=quick, rounds=3, streams=(1, 8, 32))
    each = effort.requests * 0.007 + len(effort.streams) * (effort.seconds + 0.1)
    assert effort.streams == STREAMS
    assert effort.rounds * each < 40  # seconds of each way


def test_doors_are_measured_with_a_real_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--only", "doors", "--streams", "1", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    result = json.loads(path.read_text())
    assert result["problems"] == []
    rows = {row["way"]: row for row in result["doors"]["rows"]}
    assert {RELAYED, EVENTS, MESSAGES_WAY.name} <= set(rows)
    assert result["doors"]["first_token_errors"] == {}
    for found in rows.values():
        assert len(found["first_tokens"]) == 15 * 15
        assert not any(run["seen"]["errors"] for run in found["full"]["1"]["rounds"])
    assert "added to the first token" in capsys.readouterr().out
