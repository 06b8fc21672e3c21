"""Many short turns: the order of the runs, the figures and intervals of made-up speeds, and what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from bench.options import parser
from bench.rivals import native, turns
from bench.rivals.command import Rivals
from bench.rivals.native import BUSY, DEFAULTS, SERVER, WHEEL, Machine, NativeEffort, NativeRow
from bench.rivals.native_report import native_notes, native_tables
from bench.rivals.profile import Profile
from bench.rivals.turns import Interval, compare, measure_turns
from bench.rivals.works import ANSWER, ANSWERS, Work


def row(build: str, speeds: tuple[float, ...], settings: str = BUSY) -> NativeRow:
    every = {work.name: speeds for work in turns.WORKS}
    return NativeRow(build=build, kind="Q4_0", settings=settings, speeds=every, is_in_turns=True)


def test_slow_turns_count_for_more_in_all_turns_together_and_for_the_same_in_the_mean() -> None:
    found = compare([100.0, 1.0], [50.0, 2.0])
    assert found.mean.value == pytest.approx(1.0)
    assert found.total.value == pytest.approx((1 / 50 + 1 / 2) / (1 / 100 + 1))
    assert found.mean.low == pytest.approx(0.5)
    assert found.mean.high == pytest.approx(2.0)
    assert found == compare([100.0, 1.0], [50.0, 2.0])


def test_an_interval_contains_the_figure_and_narrows_with_more_turns() -> None:
    ours, theirs = [8.0, 10.0, 13.0, 9.0], [10.0, 11.0, 10.0, 9.0]
    few, many = compare(ours, theirs), compare(ours * 25, theirs * 25)
    for found in (few.mean, few.total, many.mean, many.total):
        assert found.low < found.value < found.high
    assert many.mean.value == pytest.approx(few.mean.value)
    assert many.mean.high - many.mean.low < (few.mean.high - few.mean.low) / 3


def test_turns_that_are_alike_leave_nothing_to_chance() -> None:
    found = compare([9.0, 18.0, 4.5], [10.0, 20.0, 5.0])
    assert found.mean.low == pytest.approx(0.9)
    assert [found.mean.high, found.total.low, found.total.high] == pytest.approx([0.9] * 3)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.9, 1.2, "at least 0.9"), (0.8, 1.2, "not decided"), (0.5, 0.9, "not decided"), (0.5, 0.89, "below 0.9")],
)
def test_a_verdict_is_of_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert Interval(value=(low + high) / 2, low=low, high=high).verdict(0.9) == verdict


def test_each_build_runs_twice_in_a_turn_in_mirrored_order_beside_a_job_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    @contextmanager
    def job(*, is_there: bool) -> Iterator[None]:
        done.append(f"job {is_there}")
        yield
        done.append("end")

    def build(name: str, seconds: float) -> native.Build:
        def do(work: Work) -> float:
            done.append(f"{name} {work.name}")
            return seconds

        return do

    monkeypatch.setattr(turns, "other_work", job)
    builds = {"a": build("a", 2.0), "b": build("b", 4.0)}
    speeds = measure_turns(builds, 3, is_busy=True, works=[ANSWER, ANSWERS])
    assert speeds == {
        "a": {ANSWER.name: (32.0,) * 3, ANSWERS.name: (128.0,) * 3},
        "b": {ANSWER.name: (16.0,) * 3, ANSWERS.name: (64.0,) * 3},
    }
    assert len(done) == 3 * 10
    for begin in range(0, len(done), 10):
        started, *runs, ended = done[begin : begin + 10]
        assert (started, ended) == ("job True", "end")
        for of, work in ((runs[:4], ANSWER), (runs[4:], ANSWERS)):
            assert of == of[::-1]
            assert set(of) == {f"a {work.name}", f"b {work.name}"}


def test_a_busy_machine_is_measured_in_turns_and_an_idle_one_if_turns_are_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs: list[bool] = []
    monkeypatch.setattr(turns, "other_work", lambda *, is_there: jobs.append(is_there) or nullcontext())
    monkeypatch.setattr(native, "builds", lambda *_: {WHEEL: nullcontext(lambda _: 2.0)})
    monkeypatch.setattr(native, "write_larger", lambda _, path, kind: path.write_text(kind) and path)
    machine = Machine(built=None, server=None, has_python=False)

    def measured(effort: NativeEffort) -> dict[str, tuple[bool, int]]:
        rows = native.measure_native(effort, machine, tmp_path / "log")
        return {row.settings: (row.is_in_turns, len(next(iter(row.speeds.values())))) for row in rows}

    both = [DEFAULTS, BUSY]
    assert measured(NativeEffort(rounds=1, kinds=["Q4_0"], settings=both)) == {DEFAULTS: (False, 1), BUSY: (True, 30)}
    assert jobs == [True] * 30
    jobs.clear()
    found = measured(NativeEffort(rounds=1, turns=2, kinds=["Q4_0"], settings=both))
    assert found == {DEFAULTS: (True, 2), BUSY: (True, 2)}
    assert jobs == [False, False, True, True]


def test_idle_turns_have_a_long_prompt_and_a_profile_of_each_work_that_is_too_slow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seconds = {WHEEL: {turns.LONG.name: 1.1}, SERVER: {}}
    monkeypatch.setattr(turns, "other_work", lambda **_: nullcontext())
    monkeypatch.setattr(
        native,
        "builds",
        lambda *_: {name: nullcontext(lambda work, of=of: of.get(work.name, 1.0)) for name, of in seconds.items()},
    )
    monkeypatch.setattr(native, "write_larger", lambda _, path, kind: path.write_text(kind) and path)
    monkeypatch.setattr(native, "profile", lambda build, work: Profile(seconds=build(work), tokens=work.tokens))
    machine = Machine(built=None, server=None, has_python=False)
    effort = NativeEffort(rounds=1, turns=2, kinds=["Q4_0"], settings=[DEFAULTS, BUSY])
    rows = list(native.measure_native(effort, machine, tmp_path / "log"))
    assert {(row.build, row.settings): set(row.profiles) for row in rows} == {
        (WHEEL, DEFAULTS): {turns.LONG.name},
        (SERVER, DEFAULTS): {turns.LONG.name},
        (WHEEL, BUSY): set(),
        (SERVER, BUSY): set(),
    }
    assert [turns.LONG.name in row.speeds for row in rows] == [True, True, False, False]
    assert any("prompt of 1,500: modelhost, its wheel has 0.91 of llama-server" in note for note in native_notes(rows))


def test_a_table_of_turns_has_both_figures_with_their_intervals_and_a_verdict() -> None:
    rows = [row(WHEEL, (60.0, 30.0)), row(SERVER, (50.0, 25.0)), row(WHEEL, (40.0, 40.0), DEFAULTS)]
    idle, busy = native_tables(rows)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(busy)
        console.print(idle)
    text = capture.get()
    assert "2 turns" in text
    assert "1.20 (1.20 to 1.20)" in text
    assert "at least 0.9" in text
    assert (
        "33.3" in text
    )  # 2 works in the time of one at 60 and one at 30 tokens per second are 40; of llama-server 33.3
    assert "40.0" in text
    assert not any("at least" in note for note in native_notes(rows))
    assert json.loads(json.dumps(Rivals(native=rows).json))["native"]["rows"][0]["is_in_turns"] is True


def test_a_number_of_turns_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser().parse_args(["--turns", "12"]).turns == 12
    assert parser().parse_args([]).turns is None
    for wrong in ("0", "-3", "many"):
        with pytest.raises(SystemExit):
            parser().parse_args([f"--turns={wrong}"])
        assert f"{wrong} is not a whole number above 0" in capsys.readouterr().err
