"""The command ``python -m bench``: measures host and bare worker, prints a table, writes JSON. It reports and judges;
it never fails because of a figure."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from bench import machine
from bench.alternation import Alternation, alternating, pace_of
from bench.engines import measure_startup, pair
from bench.figures import Row, Startup
from bench.first_use import FirstUse, measure_first_use
from bench.loads import STREAMS, loads
from bench.mcp_calls import McpCosts, calls_of, mcp_checks, mcp_json, mcp_table, measure_mcp
from bench.measure import LoadGenerator, load_generator, measure, measure_row
from bench.models_report import alternation_table, first_use_table, models_checks, models_json, models_notes
from bench.report import json_of, notes_of, startup_lines, tables_of, targets_of
from bench.sides import StartError
from bench.state import StateCost, extent_of, measure_state
from bench.state_report import state_json, state_table
from bench.tools import ToolCosts, effort_of, measure_tools
from bench.tools_report import tools_checks, tools_json, tools_table
from modelhost import logs

ENGINE_OF = {"scripted": "scripted", "nano": "llamacpp"}
WIDTH = 150
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = _parser().parse_args(arguments)
    logs.setup_if_unset()
    console = Console()
    console.width = max(console.width, WIDTH)  # a table in a log file is not to be cut
    begun = datetime.datetime.now(datetime.UTC)
    about = {"date": begun.isoformat(timespec="seconds"), "quick": options.quick, "machine": machine.describe()}
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{begun:%Y-%m-%dT%H%M%S}"
    log = folder / f"{stem}.log"
    rounds = options.rounds or (1 if options.quick else 3)
    problems: list[str] = []
    startups = list(_startups(options, log, rounds, problems))
    rows = []
    with load_generator() as generator:
        for row in _rows(generator, options, log, rounds, problems):
            rows.append(row)
            console.print(f"[dim]{row.load}, {row.streams} streams: done[/]", highlight=False)
        first_use = _first_use(generator, options, log, rounds, problems)
        turns = []
        for turn in _alternations(generator, options, log, rounds, problems):
            turns.append(turn)
            console.print(f"[dim]two models in turns, {turn.clients} clients: done[/]", highlight=False)
    costs = _tools(options, log, problems)
    mcp = _mcp(options, log, problems)
    kept = _state(options)
    for table in tables_of(rows):
        console.print(table)
    if first_use is not None:
        console.print(first_use_table(first_use))
    if turns:
        console.print(alternation_table(turns))
    if costs is not None:
        console.print(tools_table(costs))
    if mcp is not None:
        console.print(mcp_table(mcp))
    if kept:
        console.print(state_table(kept))
    console.print(
        targets_of(rows, startups, [*models_checks(first_use, turns), *tools_checks(costs), *mcp_checks(mcp)])
    )
    for line in (*startup_lines(startups), *notes_of(rows), *models_notes(turns), *problems):
        console.print(line, highlight=False)
    result = folder / f"{stem}.json"
    found = json_of(rows, startups, about | {"problems": problems}) | models_json(first_use, turns) | tools_json(costs)
    found |= mcp_json(mcp)
    found |= state_json(kept)
    result.write_text(json.dumps(found, indent=1))
    console.print(f"written to {result}; what the processes said: {log}", highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little more than a minute instead of six")
    parser.add_argument(
        "--only",
        choices=("scripted", "nano", "startup", "unloaded", "alternating", "tools", "state", "mcp"),
        action="append",
    )
    parser.add_argument("--streams", type=_numbers, default=STREAMS, help="such as 1,8")
    parser.add_argument("--rounds", type=int, help="pairs of runs per row (default 3; quick 1)")
    parser.add_argument("--load", help="only loads with this text in their name")
    parser.add_argument("--model", type=Path, help="GGUF file instead of the bundled model")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON and the log")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _startups(options: argparse.Namespace, log: Path, rounds: int, problems: list[str]) -> Iterator[Startup]:
    if options.only and "startup" not in options.only:
        return
    for engine in ENGINE_OF.values():
        startup, wrong = measure_startup(engine, options.model, log, max(rounds, 3))
        problems += wrong
        if startup.worker_seconds:
            yield startup


def _rows(
    generator: LoadGenerator, options: argparse.Namespace, log: Path, rounds: int, problems: list[str]
) -> Iterator[Row]:
    chosen = [
        load
        for load in loads(quick=options.quick, streams=options.streams)
        if not options.load or options.load in load.name
    ]
    for name, engine in ENGINE_OF.items():
        mine = [load for load in chosen if load.engine == engine]
        if (options.only and name not in options.only) or not mine:
            continue
        with pair(engine, options.model, log) as (bare, host, wrong):
            problems += wrong
            sides = (bare, host)
            for side in sides:
                if side is not None:
                    measure(generator, mine[0], 1, side)  # the first request of a process pays for what stays
            if sides != (None, None):
                for load in mine:
                    for streams in load.streams:
                        yield measure_row(generator, load, streams, sides, rounds)


def _first_use(
    generator: LoadGenerator, options: argparse.Namespace, log: Path, rounds: int, problems: list[str]
) -> FirstUse | None:
    if options.only and "unloaded" not in options.only:
        return None
    try:
        seen, wrong = measure_first_use(generator, options.model, log, 2 * rounds + 1)
    except StartError as error:
        problems.append(f"unloaded: {error}")
        return None
    problems += wrong
    return seen


def _alternations(
    generator: LoadGenerator, options: argparse.Namespace, log: Path, rounds: int, problems: list[str]
) -> Iterator[Alternation]:
    if options.only and "alternating" not in options.only:
        return
    try:
        with alternating(generator, options.model, log, pace_of(quick=options.quick, rounds=rounds)) as found:
            yield from found
    except StartError as error:
        problems.append(f"alternating: {error}")


def _tools(options: argparse.Namespace, log: Path, problems: list[str]) -> ToolCosts | None:
    if options.only and "tools" not in options.only:
        return None
    try:
        return measure_tools(log, effort_of(quick=options.quick))
    except StartError as error:
        problems.append(f"tools: {error}")
        return None


def _state(options: argparse.Namespace) -> Sequence[StateCost]:
    if options.only and "state" not in options.only:
        return ()
    return tuple(measure_state(extent_of(quick=options.quick)))


def _mcp(options: argparse.Namespace, log: Path, problems: list[str]) -> McpCosts | None:
    if options.only and "mcp" not in options.only:
        return None
    try:
        return measure_mcp(log, calls=calls_of(quick=options.quick))
    except StartError as error:
        problems.append(f"mcp: {error}")
        return None


if __name__ == "__main__":
    main()
