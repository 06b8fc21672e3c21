"""``python -m tests.conformance``: runs the official conformance suite of MCP against both sides of the host, and
schemathesis against its HTTP face (:mod:`tests.conformance.described`), and the suites of the Responses API
(:mod:`tests.conformance.responses`).

The client side is tried with the program of :mod:`tests.conformance.in_turn`, the server side with a host that serves
the fixtures of :mod:`tests.conformance.fixtures` beside what is its own. ``client``, ``server``, ``openapi`` or
``responses`` as an argument runs one part only; ``--responses-suite DIR`` runs the last one, with the suite of Open
Responses in that checkout of its repository.

The suite needs Node 22 or newer; where there is none, it is installed from npm beside the suite, into a folder that git
ignores. A scenario that surprises among the others is run once more alone, as the SDK's own CI does it: some of them
measure times. Ends with status 1 if a scenario fails that should pass, if one passes that :mod:`tests.conformance.legs`
has among those that do not, or if there are fewer of them than expected.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.conformance.described import Trial, described_host, verdict_on
from tests.conformance.legs import LEGS, LOCK, Leg
from tests.conformance.responses import is_api_kept
from tests.conformance.scores import Score, scores_in, solo_score_in
from tests.support.locked import node
from tests.support.serving import ServedHost

ROOT: Final = Path(__file__).parents[2]
LEG_SECONDS: Final = 3600
CLIENT_MILLISECONDS: Final = 1_800_000  # most of it is spent waiting for a turn
SOLO_MILLISECONDS: Final = 120_000
COMMAND: Final = f"{sys.executable} -m tests.conformance.in_turn"
FIXTURES: Final = """
import sys
sys.path.insert(0, {root!r})
from modelhost.http.mcp.endpoint import McpEndpoint
from tests.conformance.fixtures import EXTENSION
McpEndpoint.extension = EXTENSION
"""
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
COLUMNS: Final = ("suite", "side", "", "scenarios", "passed", "checks", "not as documented")

SIDES: Final = ("client", "server")
DESCRIBED: Final = "openapi"
RESPONSES: Final = "responses"
PARTS: Final = (*SIDES, DESCRIBED, RESPONSES)
LONG_TRIAL: Final = Trial(examples=180, least_cases=10_000)
Target = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--responses-suite", type=Path, metavar="DIR", help="a checkout of openresponses/openresponses")
    given = parser.parse_args()
    parts = given.parts or ([RESPONSES] if given.responses_suite else PARTS)
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"there is no part {', '.join(sorted(unknown))}, but {', '.join(PARTS)}")
    sides = [part for part in parts if part in SIDES]
    is_good = not sides or is_protocol_kept(sides)
    if DESCRIBED in parts:
        is_good &= is_description_true()
    if RESPONSES in parts:
        is_good &= is_api_kept(given.responses_suite)
    sys.exit(0 if is_good else 1)


def is_description_true() -> bool:
    """Try ``/openapi.json``; print what was found."""
    sys.stderr.write(f"/openapi.json: some minutes for {LONG_TRIAL.least_cases} cases\n")
    with described_host() as host:
        verdict = verdict_on(host, LONG_TRIAL)
    sys.stdout.write(f"{verdict.said}\n{verdict.cases} cases of at least {LONG_TRIAL.least_cases}\n")
    return verdict.is_good


def is_protocol_kept(sides: Sequence[str]) -> bool:
    """Run the suite of MCP against ``sides``; print a table."""
    console = Console()
    program = node(LOCK)
    table = Table(*COLUMNS, title_justify="left")
    is_good = True
    for leg in LEGS:
        if leg.side in sides:
            row, is_leg_good = result_of(program, leg)
            table.add_row(*row)
            is_good &= is_leg_good
    console.print(table)
    return is_good


def result_of(program: Path, leg: Leg) -> tuple[Sequence[str], bool]:
    """Run ``leg``; return its row of the table, and whether all is as the documentation says."""
    sys.stderr.write(f"{leg.suite.version}, {leg.side}, {leg.name}: some minutes for {leg.scenarios} scenarios\n")
    with target_of(leg) as target:
        scores = [again(program, leg, target, score) for score in scores_of(program, leg, target)]
    surprises = [score for score in scores if leg.surprises(score)]
    passed = sum(score.outcome == "passes" for score in scores)
    checks = sum(score.passed for score in scores)
    others = ", ".join(f"{score.scenario} {score.outcome}" for score in surprises) or "none"
    figures = (str(len(scores)), str(passed), str(checks))
    row = (leg.suite.version, leg.side, leg.name, *figures, f"[{'red' if surprises else 'green'}]{others}")
    return row, not surprises and len(scores) >= leg.scenarios and checks >= leg.checks


@contextmanager
def target_of(leg: Leg) -> Iterator[Target]:
    """What ``leg`` runs against, as arguments of the suite."""
    if leg.side == "client":
        yield ("--command", COMMAND)
        return
    with ServedHost(before=FIXTURES.format(root=str(ROOT))) as host:
        yield ("--url", f"{host.url}/mcp")


def scores_of(program: Path, leg: Leg, target: Target) -> list[Score]:
    """Run all scenarios of ``leg``."""
    arguments = ["--suite", "all", *leg.era_arguments, *_patience(leg, CLIENT_MILLISECONDS)]
    said = _suite(program, leg, target, arguments, LEG_SECONDS)
    found = list(scores_in(said))
    if not found:
        sys.exit(f"the suite {leg.name} has no result; it said:\n{said[-3000:]}")
    return found


def again(program: Path, leg: Leg, target: Target, score: Score) -> Score:
    """Return ``score``; if it surprises, that of another run of the scenario, alone."""
    if not leg.surprises(score):
        return score
    arguments = ["--scenario", score.scenario, *leg.era_arguments, *_patience(leg, SOLO_MILLISECONDS)]
    said = _suite(program, leg, target, arguments, LEG_SECONDS)
    solo = solo_score_in(said, score.scenario)
    if solo is None:
        return score
    if leg.surprises(solo):
        sys.stderr.write(f"--- {leg.name}: {score.scenario} ---\n{said}\n")
    return solo


def _patience(leg: Leg, milliseconds: int) -> Sequence[str]:
    """How long the suite waits for a client; for servers it knows by itself."""
    return ("--timeout", str(milliseconds)) if leg.side == "client" else ()


def _suite(program: Path, leg: Leg, target: Target, arguments: Sequence[str], seconds: float) -> str:
    command = [str(program), str(leg.suite.script), leg.side, *target, *arguments]
    done = subprocess.run(command, check=False, timeout=seconds, capture_output=True, text=True, cwd=ROOT)
    return COLOURS.sub("", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
