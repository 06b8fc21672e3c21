"""The command ``python -m bench``: measures host and bare worker, prints a table, writes JSON. It reports and judges;
only ``--check`` fails because of a figure."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from bench import machine
from bench.alternation import Alternation, alternating, pace_of
from bench.check.command import CheckOptions, check
from bench.contenders import ENGINES, contest_of, why_not
from bench.contest import CLIENTS, Effort, EngineFigures, measure_contest
from bench.contest_report import engine_checks, engine_notes, engine_table, engines_json
from bench.doors import DoorCosts, measure_doors
from bench.doors import effort_of as effort_of_doors
from bench.doors_report import doors_checks, doors_json, doors_notes, doors_table
from bench.endless import write_endless
from bench.engines import bundled, measure_startup, pair
from bench.figures import Row, Startup
from bench.first_use import FirstUse, measure_first_use
from bench.images import ImageCosts, images_checks, images_json, images_table, measure_images
from bench.larger import write_larger
from bench.loads import loads
from bench.mcp_calls import McpCosts, calls_of, mcp_checks, mcp_json, mcp_table, measure_mcp
from bench.measure import LoadGenerator, load_generator, measure, measure_row
from bench.media import MediaCost, measure_media, media_checks, media_json, media_table, pairs_of
from bench.models_report import alternation_table, first_use_table, models_checks, models_json, models_notes
from bench.options import ENGINE_OF, read
from bench.report import json_of, notes_of, startup_lines, tables_of, targets_of
from bench.rivals.command import Rivals, measured_native, measured_proxies, measured_settings
from bench.sides import StartError
from bench.state import StateCost, extent_of, measure_state
from bench.state_report import state_json, state_table
from bench.tools import ToolCosts, effort_of, measure_tools
from bench.tools_report import tools_checks, tools_json, tools_table
from modelhost import logs

WIDTH = 150
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that was measured; ``None`` and empty: what was left out."""

    startups: Sequence[Startup]
    rows: Sequence[Row]
    first_use: FirstUse | None
    turns: Sequence[Alternation]
    engines: Sequence[EngineFigures]
    doors: DoorCosts | None
    rivals: Rivals
    tools: ToolCosts | None
    mcp: McpCosts | None
    media: Sequence[MediaCost]
    images: ImageCosts | None
    state: Sequence[StateCost]

    def tables(self) -> Iterator[Table]:
        """Yield the tables of what was measured, without that of the targets."""
        yield from tables_of(self.rows)
        yield from [first_use_table(self.first_use)] if self.first_use is not None else ()
        yield from [alternation_table(self.turns)] if self.turns else ()
        yield from map(engine_table, self.engines)
        yield from [tools_table(self.tools)] if self.tools is not None else ()
        yield from [doors_table(self.doors)] if self.doors is not None else ()
        yield from [mcp_table(self.mcp)] if self.mcp is not None else ()
        yield from [media_table(self.media)] if self.media else ()
        yield from [images_table(self.images)] if self.images is not None else ()
        yield from [state_table(self.state)] if self.state else ()
        yield from self.rivals.tables

    def targets(self) -> Table:
        """Return the table of the targets, with what was found."""
        others = [*models_checks(self.first_use, self.turns), *engine_checks(self.engines), *tools_checks(self.tools)]
        others += [*mcp_checks(self.mcp), *doors_checks(self.doors), *media_checks(self.media)]
        return targets_of(self.rows, self.startups, [*others, *images_checks(self.images)])

    def notes(self) -> Iterator[str]:
        """Yield the lines below the tables."""
        yield from startup_lines(self.startups)
        yield from notes_of(self.rows)
        yield from models_notes(self.turns)
        yield from engine_notes(self.engines)
        yield from doors_notes(self.doors)
        yield from self.rivals.notes

    def json(self, about: dict[str, Any]) -> dict[str, Any]:
        """Return all of it, with ``about``, as it is written to a file."""
        return {
            **json_of(self.rows, self.startups, about),
            **models_json(self.first_use, self.turns),
            **tools_json(self.tools),
            **engines_json(self.engines),
            **mcp_json(self.mcp),
            **doors_json(self.doors),
            **media_json(self.media),
            **state_json(self.state),
            **self.rivals.json,
            **images_json(self.images),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read(arguments)
    logs.setup_once()
    console = Console()
    console.width = max(console.width, WIDTH)  # a table in a log file is not to be cut
    begun = datetime.datetime.now(datetime.UTC)
    about = {"date": begun.isoformat(timespec="seconds"), "quick": options.quick, "machine": machine.describe()}
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{begun:%Y-%m-%dT%H%M%S}"
    log, result = folder / f"{stem}.log", folder / f"{stem}.json"
    if options.check:
        asked = CheckOptions(against=options.against, rounds=options.rounds, quick=options.quick, log=log)
        sys.exit(check(asked, console, about, result))
    problems: list[str] = []
    found = _measured(console, options, log, problems)
    for table in (*found.tables(), found.targets()):
        console.print(table)
    for line in (*found.notes(), *problems):
        console.print(line, highlight=False)
    result.write_text(json.dumps(found.json(about | {"problems": problems}), indent=1))
    console.print(f"written to {result}; what the processes said: {log}", highlight=False)


def _measured(console: Console, options: argparse.Namespace, log: Path, problems: list[str]) -> Findings:
    rounds = options.rounds or (1 if options.quick else 3)
    startups = list(_startups(options, log, rounds, problems))
    with load_generator() as generator:
        rows = _announced(console, _rows(generator, options, log, rounds, problems), _name_of_row)
        first_use = _first_use(generator, options, log, rounds, problems)
        turns = _announced(console, _alternations(generator, options, log, rounds, problems), _name_of_turn)
        engines = _announced(console, _engines(generator, options, log, rounds, problems), _name_of_engine)
        doors = _doors(generator, options, log, rounds, problems)
        proxies = measured_proxies(generator, options, log, rounds, problems)
    return Findings(
        startups=startups,
        rows=rows,
        first_use=first_use,
        turns=turns,
        engines=engines,
        doors=doors,
        rivals=Rivals(
            proxies=proxies,
            native=measured_native(options, log, rounds, problems),
            settings=measured_settings(options, log, rounds, problems),
        ),
        tools=_tools(options, log, problems),
        mcp=_mcp(options, log, problems),
        media=_media(options, log, problems),
        images=_images(options, log, problems),
        state=_state(options),
    )


def _announced(console: Console, measured: Iterator[Found], name: Callable[[Found], str]) -> list[Found]:
    """Return all of ``measured``, and say of each that it is done."""
    found = []
    for each in measured:
        found.append(each)
        console.print(f"[dim]{name(each)}: done[/]", highlight=False)
    return found


def _name_of_row(row: Row) -> str:
    return f"{row.load}, {row.streams} streams"


def _name_of_turn(turn: Alternation) -> str:
    return f"two models in turns, {turn.clients} clients"


def _name_of_engine(figures: EngineFigures) -> str:
    return f"engine {figures.engine}"


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


def _engines(
    generator: LoadGenerator, options: argparse.Namespace, log: Path, rounds: int, problems: list[str]
) -> Iterator[EngineFigures]:
    if options.only and "engines" not in options.only:
        return
    clients = tuple(number for number in options.streams if number in CLIENTS)
    effort = Effort(rounds=rounds, seconds=1.0 if options.quick else 2.0, clients=clients)
    with tempfile.TemporaryDirectory() as folder:
        endless = write_endless(Path(folder) / "endless")
        gguf = write_larger(bundled(None), Path(folder) / "larger.gguf") if options.larger else options.model
        for engine in options.engine or ENGINES:
            if (reason := why_not(engine)) is not None:
                problems.append(f"engine {engine}: not measured; {reason}")
                continue
            try:
                yield measure_contest(generator, contest_of(engine, gguf, endless), effort, log)
            except StartError as error:
                problems.append(f"engine {engine}: {error}")


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


def _media(options: argparse.Namespace, log: Path, problems: list[str]) -> Sequence[MediaCost]:
    if "media" not in (options.only or ()):
        return ()
    try:
        return measure_media(log, pairs=pairs_of(quick=options.quick))
    except StartError as error:
        problems.append(f"media: {error}")
        return ()


def _images(options: argparse.Namespace, log: Path, problems: list[str]) -> ImageCosts | None:
    if "media" not in (options.only or ()):
        return None
    try:
        return measure_images(log, pairs=pairs_of(quick=options.quick), quick=options.quick)
    except StartError as error:
        problems.append(f"media: {error}")
        return None


def _doors(
    generator: LoadGenerator, options: argparse.Namespace, log: Path, rounds: int, problems: list[str]
) -> DoorCosts | None:
    if options.only and "doors" not in options.only:
        return None
    try:
        effort = effort_of_doors(quick=options.quick, rounds=rounds, streams=options.streams)
        return measure_doors(generator, log, effort)
    except StartError as error:
        problems.append(f"doors: {error}")
        return None


if __name__ == "__main__":
    main()
