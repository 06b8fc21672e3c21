"""``python -m tests.conformance``: runs the official conformance suite of MCP against both sides of the host.

The client side is tried with the program of :mod:`tests.conformance.in_turn`, the server side with a host that serves
the fixtures of :mod:`tests.conformance.fixtures` beside what is its own. ``client`` or ``server`` as an argument runs
one side only.

The suite needs Node 22 or newer; where there is none, it is installed from npm beside the suite, into a folder that git
ignores. A scenario that fails among the others is run once more alone, as the SDK's own CI does it: some of them
measure times. Ends with status 1 if a scenario fails or if there are fewer of them than expected.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

from tests.support.locked import node_modules
from tests.support.serving import ServedHost

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = "npm-conformance"
NODE_MAJOR: Final = 22
LEG_SECONDS: Final = 3600
CLIENT_MILLISECONDS: Final = 1_800_000  # most of it is spent waiting for a turn
SOLO_MILLISECONDS: Final = 120_000
COMMAND: Final = f"{sys.executable} -m tests.conformance.in_turn"
FIXTURES: Final = "tests.conformance.fixtures:EXTENSION"

Side = Literal["client", "server"]
Target = tuple[str, str]
SCORE = re.compile(r"^[✓✗~] (\S+): (\d+) passed, (\d+) failed(?:, (\d+) warnings)?", re.MULTILINE)
SOLO_SCORE = re.compile(r"^Passed: (\d+)/\d+, (\d+) failed, (\d+) warnings", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One run of the suite, or of those of its scenarios that ``only`` names.

    ``scenarios`` is how many there are, ``checks`` how many checks they make at least; ``may_warn`` are those that warn
    of what they do not ask for.
    """

    side: Side = "client"
    name: str
    package: str
    version: str
    arguments: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    scenarios: int
    checks: int = 0
    may_warn: frozenset[str] = frozenset()

    @property
    def script(self) -> Path:
        return node_modules(LOCK) / self.package / "dist" / "index.js"


OLD: Final[dict[str, Any]] = {"package": "conformance-1", "version": "0.1.16"}
NEW: Final[dict[str, Any]] = {"package": "conformance-2", "version": "0.2.0-alpha.12"}
LEGS: Final = (
    Leg(name="core", **OLD, arguments=("--suite", "core"), scenarios=18),
    Leg(name="2025-11-25", **NEW, arguments=("--suite", "all", "--spec-version", "2025-11-25"), scenarios=19),
    Leg(name="2026-07-28", **NEW, arguments=("--suite", "all", "--spec-version", "2026-07-28"), scenarios=33),
    Leg(
        name="extensions",
        **NEW,
        # Not among them: DPoP and workload identities, which the SDK's client does not know either.
        only=(
            "auth/client-credentials-jwt",
            "auth/client-credentials-basic",
            "auth/enterprise-managed-authorization",
        ),
        scenarios=3,
    ),
    Leg(
        side="server",
        name="all",
        **OLD,
        arguments=("--suite", "all"),
        scenarios=32,
        checks=44,
        # It does not say that it speaks 2025-11-25, and older clients cannot read what it misses.
        may_warn=frozenset({"server-sse-polling"}),
    ),
    Leg(
        side="server",
        name="2025-11-25",
        **NEW,
        arguments=("--suite", "all", "--spec-version", "2025-11-25"),
        scenarios=33,
        checks=84,
    ),
    Leg(
        side="server",
        name="2026-07-28",
        **NEW,
        arguments=("--suite", "all", "--spec-version", "2026-07-28"),
        scenarios=40,
        checks=152,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a scenario found."""

    scenario: str
    passed: int
    failed: int
    warnings: int = 0

    def is_good(self, leg: Leg) -> bool:
        if self.scenario in leg.may_warn:
            return self.failed == 0
        return self.passed > 0 and self.failed == 0 and self.warnings == 0


def main() -> None:
    console = Console()
    sides = sys.argv[1:] or ["client", "server"]
    node = node_for_the_suite()
    table = Table("suite", "side", "", "scenarios", "checks passed", "failed", "warnings", "", title_justify="left")
    is_good = True
    for leg in LEGS:
        if leg.side in sides:
            row, is_leg_good = result_of(node, leg)
            table.add_row(*row)
            is_good &= is_leg_good
    console.print(table)
    sys.exit(0 if is_good else 1)


def result_of(node: Path, leg: Leg) -> tuple[Sequence[str], bool]:
    """Run ``leg``; return its row of the table, and whether all is as it should be."""
    sys.stderr.write(f"{leg.version}, {leg.side}, {leg.name}: some minutes for {leg.scenarios} scenarios\n")
    with target_of(leg) as target:
        scores = [again(node, leg, target, score) for score in scores_of(node, leg, target)]
    bad = [score for score in scores if not score.is_good(leg)]
    passed, failed, warnings = (sum(getattr(score, name) for score in scores) for name in FIGURES)
    good = f"{len(scores) - len(bad)} of {max(len(scores), leg.scenarios)}"
    verdict = "[red]" + ", ".join(score.scenario for score in bad) if bad else "[green]all"
    row = (leg.version, leg.side, leg.name, good, str(passed), str(failed), str(warnings), verdict)
    return row, not bad and len(scores) >= leg.scenarios and passed >= leg.checks


@contextmanager
def target_of(leg: Leg) -> Iterator[Target]:
    """What ``leg`` runs against, as arguments of the suite."""
    if leg.side == "client":
        yield ("--command", COMMAND)
        return
    with tempfile.TemporaryDirectory() as folder:
        fixtures = {"MODELHOST_MCP_FIXTURES": FIXTURES, "PYTHONPATH": str(ROOT)}
        with ServedHost(data_dir=folder, environment=fixtures) as host:
            yield ("--url", f"{host.url}/mcp")


FIGURES: Final = ("passed", "failed", "warnings")


def node_for_the_suite() -> Path:
    """Return a Node that is new enough; where there is none, npm has brought one with the suite."""
    found = shutil.which("node")
    if found is not None and _major(found) >= NODE_MAJOR:
        return Path(found)
    brought = sorted(node_modules(LOCK).glob("node-*/bin/node"))
    if not brought:
        sys.exit(f"the conformance suite needs Node {NODE_MAJOR} or newer, and npm has none for this machine")
    return brought[0]


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.strip().removeprefix("v").partition(".")[0])


def scores_of(node: Path, leg: Leg, target: Target) -> list[Score]:
    """Run all scenarios of ``leg``; those that it names are left to :func:`again`."""
    if leg.only:
        return [Score(scenario=scenario, passed=0, failed=0) for scenario in leg.only]
    said = _suite(node, leg, target, [*leg.arguments, *_patience(leg, CLIENT_MILLISECONDS)], LEG_SECONDS)
    found = list(scores_in(said))
    if not found:
        sys.exit(f"the suite {leg.name} has no result; it said:\n{said[-3000:]}")
    return found


def again(node: Path, leg: Leg, target: Target, score: Score) -> Score:
    """Return ``score``; if it is not good, that of another run of the scenario, alone."""
    if score.is_good(leg):
        return score
    version = leg.arguments[leg.arguments.index("--spec-version") :] if "--spec-version" in leg.arguments else ()
    arguments = ["--scenario", score.scenario, *version, *_patience(leg, SOLO_MILLISECONDS)]
    said = _suite(node, leg, target, arguments, LEG_SECONDS)
    found = SOLO_SCORE.search(said)
    if found is None:
        return score
    solo = Score(scenario=score.scenario, passed=int(found[1]), failed=int(found[2]), warnings=int(found[3]))
    if not solo.is_good(leg):
        sys.stderr.write(f"--- {leg.name}: {score.scenario} ---\n{said}\n")
    return solo


def scores_in(said: str) -> Iterator[Score]:
    for found in SCORE.finditer(said):
        yield Score(scenario=found[1], passed=int(found[2]), failed=int(found[3]), warnings=int(found[4] or 0))


def _patience(leg: Leg, milliseconds: int) -> Sequence[str]:
    """How long the suite waits for a client; for servers it knows by itself."""
    return ("--timeout", str(milliseconds)) if leg.side == "client" else ()


def _suite(node: Path, leg: Leg, target: Target, arguments: Sequence[str], seconds: float) -> str:
    command = [str(node), str(leg.script), leg.side, *target, *arguments]
    done = subprocess.run(command, check=False, timeout=seconds, capture_output=True, text=True, cwd=ROOT)
    return COLOURS.sub("", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
