"""The check: what it calls a regression, on made-up figures, and what it says where nothing can be compared."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import main
from bench.check import command, trees
from bench.check.command import CheckOptions
from bench.check.judge import LEAST_ROUNDS, Judgement, Metric, Round, Verdict, judge, judge_instructions, noise_of
from bench.check.report import check_json, check_table, relay_lines
from bench.check.rounds import METRICS, RoundFigures, loads_of
from bench.check.trees import CannotCompare, Tree, reference_revision, working_tree

LESS_IS_BETTER = Metric(name="CPU", unit="ms", floor=0.03)
MORE_IS_BETTER = Metric(name="share", unit="", floor=0.03, more_is_better=True)


def rounds_of(*, factor: float, spread: float, seed: int = 1, count: int = LEAST_ROUNDS) -> list[Round]:
    """Return rounds of a reference at 50 and a tree at ``factor`` times that, each run off by ``spread`` or so."""
    dice = random.Random(seed)

    def two(middle: float) -> tuple[float, float]:
        return middle * (1 + dice.gauss(0, spread)), middle * (1 + dice.gauss(0, spread))

    return [Round(reference=two(50.0), tree=two(50.0 * factor)) for _ in range(count)]


def share_of(verdict: Verdict, metric: Metric, *, factor: float, spread: float, of: int = 40) -> float:
    return (
        sum(judge(metric, rounds_of(factor=factor, spread=spread, seed=seed)).verdict is verdict for seed in range(of))
        / of
    )


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1, 0.3])
def test_noise_is_no_regression(spread: float) -> None:
    assert share_of(Verdict.REGRESSION, LESS_IS_BETTER, factor=1.0, spread=spread) <= 0.025


def test_a_tenth_more_cpu_is_a_regression() -> None:
    assert share_of(Verdict.REGRESSION, LESS_IS_BETTER, factor=1.1, spread=0.03) >= 0.95


def test_a_difference_within_the_floor_is_no_regression_however_certain_it_is() -> None:
    assert judge(LESS_IS_BETTER, rounds_of(factor=1.029, spread=0.0)).verdict is Verdict.SAME
    assert judge(LESS_IS_BETTER, rounds_of(factor=1.031, spread=0.0)).verdict is Verdict.REGRESSION


@pytest.mark.parametrize(
    ("metric", "factor", "verdict"),
    [
        (LESS_IS_BETTER, 1.2, Verdict.REGRESSION),
        (LESS_IS_BETTER, 0.8, Verdict.BETTER),
        (MORE_IS_BETTER, 1.2, Verdict.BETTER),
        (MORE_IS_BETTER, 0.8, Verdict.REGRESSION),
    ],
)
def test_each_metric_has_a_direction(metric: Metric, factor: float, verdict: Verdict) -> None:
    assert judge(metric, rounds_of(factor=factor, spread=0.01)).verdict is verdict


def test_one_round_that_went_wrong_changes_nothing() -> None:
    rounds = [*rounds_of(factor=1.0, spread=0.01), Round(reference=(50.0, 50.0), tree=(500.0, 500.0))]
    assert judge(LESS_IS_BETTER, rounds).verdict is Verdict.SAME


def test_difference_between_the_trees_is_no_part_of_the_noise() -> None:
    each = Round(reference=(50.0, 51.0), tree=(60.0, 61.0))
    assert each.difference == 10.0
    assert each.chance == 0.0
    assert noise_of([0.2] * 7, [0.0] * 7) == 0.0


def test_share_of_next_to_nothing_is_taken_of_the_least_base() -> None:
    metric = Metric(name="added", unit="ms", floor=0.05, least_base=0.2)
    rounds = [Round(reference=(0.001, 0.001), tree=(0.006, 0.006))] * 7
    assert judge(metric, rounds).difference == pytest.approx(0.025)


def test_instructions_fail_above_two_percent_of_the_least_blocks() -> None:
    reference = {"plain": (1.0, 1.2, 1.001, 1.002), "tool": (2.0, 2.0, 2.0), "gone": (1.0,)}
    found = judge_instructions(reference, {"plain": (1.019, 1.02, 1.02), "tool": (2.05, 2.05, 2.05)})
    assert [(each.difference, each.verdict) for each in found] == [
        (pytest.approx(0.019), Verdict.SAME),
        (pytest.approx(0.025), Verdict.REGRESSION),
    ]


def figures(*, factor: float = 1.0, problems: tuple[str, ...] = ()) -> RoundFigures:
    rounds = {metric: Round(reference=(1.0, 1.0), tree=(factor, factor)) for metric in METRICS}
    return RoundFigures(rounds=rounds, relay_added_ms=0.9, relay_cpu_ms=20.0, problems=problems)


def test_report_shows_every_metric_and_the_relay() -> None:
    judged = [judge(metric, [figures().rounds[metric]] * 7) for metric in METRICS]
    console = Console(width=180)
    with console.capture() as capture:
        console.print(check_table(judged, reference="abc1234", rounds=7))
    assert all(metric.name in capture.get() for metric in METRICS)
    assert "0.100 ms (target: at most 0.1 ms)" in relay_lines([figures()])[0]
    assert len(check_json(judged, [figures()])["judgements"]) == len(METRICS)


@pytest.mark.parametrize(
    ("measured", "status"),
    [
        (figures(), command.GREEN),
        (figures(problems=("working tree, host: 1 x TimeoutError",)), command.FAILED),
        (figures(factor=1.5), command.FAILED),
    ],
)
def test_status_tells_whether_the_tree_is_worse(
    measured: RoundFigures, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rounds: list[int] = []

    def one(*values: object, **_: object) -> RoundFigures:
        rounds.append(1)
        return measured

    @contextmanager
    def pair(_: str) -> Iterator[tuple[Tree, Tree]]:
        yield Tree(name="abc1234", source=tmp_path), working_tree()

    monkeypatch.setattr(command, "trees", pair)
    monkeypatch.setattr(command, "measure_round", one)
    monkeypatch.setattr(command, "can_count", lambda: False)
    options = CheckOptions(against="HEAD", rounds=None, quick=False, log=tmp_path / "log")
    assert command.check(options, Console(quiet=True), {}, tmp_path / "result.json") == status
    # Only what looks like a regression is measured for longer.
    more = sum(rounds) - LEAST_ROUNDS
    assert (more > 0) == (measured.rounds[METRICS[0]].difference > 0)
    assert (tmp_path / "result.json").exists()


def test_fewer_rounds_than_can_be_judged_by_are_only_for_a_quick_run(tmp_path: Path) -> None:
    assert CheckOptions(against=None, rounds=3, quick=False, log=tmp_path).least_rounds == LEAST_ROUNDS
    assert CheckOptions(against=None, rounds=3, quick=True, log=tmp_path).least_rounds == 3


def test_reference_is_a_whole_commit_hash() -> None:
    assert len(reference_revision()) == 40
    assert int(reference_revision(), 16)


def test_revision_that_is_not_there_is_said_and_nothing_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--check", "--against", "no-such-revision", "--output", str(tmp_path)])
    assert ended.value.code == command.CANNOT_TELL
    said = capsys.readouterr().out
    assert "Nothing was compared." in said
    assert "no-such-revision" in said or "no git repository" in said


def test_without_git_or_a_repository_nothing_is_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trees, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(CannotCompare, match="no git repository"), trees.trees("HEAD"):
        pass
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(CannotCompare, match="Install git"), trees.trees("HEAD"):
        pass


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose revision cannot be imported."""
    root = tmp_path / "repository"
    package = root / "src" / "modelhost"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import a_package_that_nobody_has\n")
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "one"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setattr(trees, "ROOT", root)
    return root


def test_revision_that_needs_other_packages_is_said_and_its_checkout_is_removed(repository: Path) -> None:
    with pytest.raises(CannotCompare, match="a_package_that_nobody_has"), trees.trees("HEAD"):
        pass
    listed = subprocess.run(
        ["git", "-C", str(repository), "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == 1


def test_processes_of_a_tree_run_its_own_source(tmp_path: Path) -> None:
    package = tmp_path / "src" / "modelhost"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for tree in (Tree(name="other", source=tmp_path / "src"), working_tree()):
        done = trees.in_tree(tree, "-c", trees.WHERE)
        assert Path(done.stdout.strip()).is_relative_to(tree.source)


def test_processes_of_a_tree_keep_to_its_temporary_folder(tmp_path: Path) -> None:
    done = trees.in_tree(working_tree(temporary=tmp_path), "-c", "import tempfile; print(tempfile.gettempdir())")
    assert done.stdout.strip() == str(tmp_path)


def test_a_round_is_short() -> None:
    loads = loads_of(quick=False)
    assert sum(load.seconds for load in loads.values()) < 3


def test_judgement_is_a_value() -> None:
    assert isinstance(judge(LESS_IS_BETTER, rounds_of(factor=1.0, spread=0.01)), Judgement)
