"""``python -m tests.conformance``: runs the official conformance suite of MCP against the host's client side.

The suite needs Node 22 or newer; where there is none, it is installed from npm beside the suite, into a folder that git
ignores. A scenario that fails among the others is run once more alone, as the SDK's own CI does it: some of them
measure times. Ends with status 1 if a scenario fails or if there are fewer of them than expected.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / ".venv-mcp-peers" / "conformance"
NODE_MAJOR: Final = 22
INSTALL_SECONDS: Final = 600
LEG_SECONDS: Final = 3600
CLIENT_MILLISECONDS: Final = 1_800_000  # most of it is spent waiting for a turn
SOLO_MILLISECONDS: Final = 120_000
COMMAND: Final = f"{sys.executable} -m tests.conformance.in_turn"
SCORE = re.compile(r"^[✓✗~] (\S+): (\d+) passed, (\d+) failed(?:, (\d+) warnings)?", re.MULTILINE)
SOLO_SCORE = re.compile(r"^Passed: (\d+)/\d+, (\d+) failed, (\d+) warnings", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One run of the suite, or of those of its scenarios that ``only`` names; ``scenarios`` is how many there are."""

    name: str
    package: str
    version: str
    arguments: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    scenarios: int

    @property
    def script(self) -> Path:
        return FOLDER / "node_modules" / self.package / "dist" / "index.js"


OLD: Final = {"package": "conformance-1", "version": "0.1.16"}
NEW: Final = {"package": "conformance-2", "version": "0.2.0-alpha.12"}
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
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a scenario found."""

    scenario: str
    passed: int
    failed: int
    warnings: int = 0

    @property
    def is_good(self) -> bool:
        return self.passed > 0 and self.failed == 0 and self.warnings == 0


def main() -> None:
    console = Console()
    node = node_for_the_suite()
    table = Table("suite", "", "scenarios", "checks passed", "failed", "warnings", "", title_justify="left")
    is_good = True
    for leg in LEGS:
        sys.stderr.write(f"{leg.version}, {leg.name}: some minutes for {leg.scenarios} scenarios\n")
        scores = [again(node, leg, score) for score in scores_of(node, leg)]
        bad = [score for score in scores if not score.is_good]
        is_good &= not bad and len(scores) >= leg.scenarios
        passed, failed, warnings = (sum(getattr(score, name) for score in scores) for name in FIGURES)
        good = f"{len(scores) - len(bad)} of {max(len(scores), leg.scenarios)}"
        verdict = "[red]" + ", ".join(score.scenario for score in bad) if bad else "[green]all"
        table.add_row(leg.version, leg.name, good, str(passed), str(failed), str(warnings), verdict)
    console.print(table)
    sys.exit(0 if is_good else 1)


FIGURES: Final = ("passed", "failed", "warnings")


def node_for_the_suite() -> Path:
    """Return a Node that is new enough, with the suite installed; installs what is missing."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("the conformance suite needs npm; where Node is older than 22, it gets one of its own")
    found = shutil.which("node")
    own = FOLDER / "node_modules" / "node" / "bin" / "node"
    needs_own = found is None or _major(found) < NODE_MAJOR
    packages = {leg.package: f"{leg.package}@npm:@modelcontextprotocol/conformance@{leg.version}" for leg in LEGS}
    if not all(leg.script.exists() for leg in LEGS) or (needs_own and not own.exists()):
        FOLDER.mkdir(parents=True, exist_ok=True)
        node = [f"node@{NODE_MAJOR}"] if needs_own else []
        command = [npm, "install", "--no-fund", "--no-audit", "--prefix", str(FOLDER), *packages.values(), *node]
        done = subprocess.run(command, check=False, timeout=INSTALL_SECONDS, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"npm could not install the conformance suite into {FOLDER}:\n{done.stderr[-2000:]}")
    return own if needs_own else Path(str(found))


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.strip().removeprefix("v").partition(".")[0])


def scores_of(node: Path, leg: Leg) -> list[Score]:
    """Run all scenarios of ``leg``; those that it names are left to :func:`again`."""
    if leg.only:
        return [Score(scenario=scenario, passed=0, failed=0) for scenario in leg.only]
    said = _suite(node, leg, [*leg.arguments, "--timeout", str(CLIENT_MILLISECONDS)], LEG_SECONDS)
    found = list(_scores(said))
    if not found:
        sys.exit(f"the suite {leg.name} has no result; it said:\n{said[-3000:]}")
    return found


def again(node: Path, leg: Leg, score: Score) -> Score:
    """Return ``score``; if it is not good, that of another run of the scenario, alone."""
    if score.is_good:
        return score
    version = leg.arguments[leg.arguments.index("--spec-version") :] if "--spec-version" in leg.arguments else ()
    arguments = ["--scenario", score.scenario, *version, "--timeout", str(SOLO_MILLISECONDS)]
    said = _suite(node, leg, arguments, LEG_SECONDS)
    found = SOLO_SCORE.search(said)
    if found is None:
        return score
    solo = Score(scenario=score.scenario, passed=int(found[1]), failed=int(found[2]), warnings=int(found[3]))
    if not solo.is_good:
        sys.stderr.write(f"--- {leg.name}: {score.scenario} ---\n{said}\n")
    return solo


def _scores(said: str) -> Iterator[Score]:
    for found in SCORE.finditer(said):
        yield Score(scenario=found[1], passed=int(found[2]), failed=int(found[3]), warnings=int(found[4] or 0))


def _suite(node: Path, leg: Leg, arguments: Sequence[str], seconds: float) -> str:
    command = [str(node), str(leg.script), "client", "--command", COMMAND, *arguments]
    done = subprocess.run(command, check=False, timeout=seconds, capture_output=True, text=True, cwd=ROOT)
    return COLOURS.sub("", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
