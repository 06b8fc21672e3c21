"""What the benchmark shows of builds of llama.cpp: tables for people, values for the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.rivals import turns
from bench.rivals.native import BUSY, ENOUGH, OURS, SERVER, SETTINGS, WHEEL, WORKS, NativeRow, ratio
from bench.rivals.turns import CERTAINTY, Comparison, Interval, compare
from bench.rivals.works import Work
from modelhost.engines.llamacpp.machine import BUILD_COMMAND

OF_SPEED: Final = ("avx", "fma", "f16c", "bmi2", "amx", "sve", "asimd", "i8mm", "neon")
ENOUGH_WHEN_BUSY: Final = 0.9
"""The share of the speed of ``llama-server`` that the host is to have on a busy machine."""
WHAT_HELPS: Final = (
    f"a native build for hosts (minutes of compiling; needs a C++ compiler): {BUILD_COMMAND} --build native"
)


def native_tables(rows: Sequence[NativeRow]) -> list[Table]:
    """Return a table for each of ``SETTINGS``; none where nothing was measured.

    A factor is the speed over that of ``llama-server``. In turns it has an interval, and the geometric mean a verdict.
    """
    tables = []
    for which in SETTINGS:
        if in_rounds := [row for row in _of(rows, which) if not row.is_in_turns]:
            tables.append(_table(which, in_rounds))
        if in_turns := [row for row in _of(rows, which) if row.is_in_turns]:
            tables.append(_turns_table(which, in_turns))
    return tables


def _of(rows: Sequence[NativeRow], settings: str) -> list[NativeRow]:
    return [row for row in rows if row.settings == settings]


def _table(settings: str, rows: Sequence[NativeRow]) -> Table:
    title = f"llama.cpp, 120 million random weights, {settings} (tokens/s of all clients, medians; over {SERVER})"
    table = Table("file", "build", title=title, title_justify="left")
    for work in WORKS:
        table.add_column(work.name, justify="right")
        table.add_column("over it", justify="right")
    for row in rows:
        if row.build == WHEEL:
            table.add_section()
        cells = (cell for work in WORKS for cell in _cells(row, rows, work))
        table.add_row(row.kind if row.build == WHEEL else "", row.build, *cells)
    return table


def _cells(row: NativeRow, rows: Sequence[NativeRow], work: Work) -> tuple[str, str]:
    if work.name not in row.speeds:
        return "", ""
    speed = row.speed(work)
    server = next((each for each in rows if each.build == SERVER and each.kind == row.kind), None)
    factor = "" if server is None or row.build == SERVER else f"{speed / server.speed(work):.2f}"
    return f"{speed:,.1f}", factor


def _turns_table(settings: str, rows: Sequence[NativeRow]) -> Table:
    number = len(next(iter(rows[0].speeds.values())))
    what = f"{number} turns; over {SERVER}, and where {CERTAINTY:.0%} of draws lie"
    title = f"llama.cpp, 120 million random weights, {settings} (tokens/s of all clients in all turns; {what})"
    table = Table("file", "work", "build", title=title, title_justify="left")
    for name in ("tokens/s", "geometric mean of turns", "all turns together", "verdict"):
        table.add_column(name, justify="right")
    least = _enough(settings)
    for kind in dict.fromkeys(row.kind for row in rows):
        for work in (work for work in turns.WHEN_IDLE if work.name in rows[0].speeds):
            table.add_section()
            for row in (row for row in rows if row.kind == kind):
                found = _compared(row, rows, work)
                cells = (
                    ("", "", "")
                    if found is None
                    else (shown(found.mean), shown(found.total), found.mean.verdict(least))
                )
                table.add_row(kind, work.name, row.build, f"{row.speed(work):,.1f}", *cells)
    return table


def _enough(settings: str) -> float:
    return ENOUGH_WHEN_BUSY if settings == BUSY else ENOUGH


def _compared(row: NativeRow, rows: Sequence[NativeRow], work: Work) -> Comparison | None:
    """Return how ``row`` compares with ``llama-server`` among ``rows``; ``None`` if it is that, or there is none."""
    server = next((each for each in rows if each.build == SERVER and each.kind == row.kind), None)
    if server is None or row is server:
        return None
    return compare(row.speeds[work.name], server.speeds[work.name])


def shown(figure: Interval) -> str:
    """Return a figure with its interval, for people."""
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def native_notes(rows: Sequence[NativeRow]) -> list[str]:
    """Return the lowest factors, profiles of what is too slow, the processor's flags, and how a user gets a build."""
    if not rows:
        return []
    flags = " ".join(cpu_flags()) or "flags that the system does not tell"
    return [*_lowest(rows), *_profiles(rows), f"this processor has: {flags}", WHAT_HELPS]


def _lowest(rows: Sequence[NativeRow]) -> list[str]:
    notes = []
    for settings in SETTINGS:
        # The tables of turns have a verdict on each cell.
        servers = {row.kind: row for row in _of(rows, settings) if row.build == SERVER and not row.is_in_turns}
        for build in OURS:
            factors = [
                (row.speed(work) / servers[row.kind].speed(work), row.kind, work.name)
                for row in _of(rows, settings)
                if row.build == build and row.kind in servers
                for work in WORKS
            ]
            if factors:
                factor, kind, work_name = min(factors)
                notes.append(f"{settings}, {build}: at least {factor:.2f} of {SERVER} ({kind}, {work_name})")
    return notes


def _profiles(rows: Sequence[NativeRow]) -> list[str]:
    """Return a line for each cell that is too low, and one for ``llama-server`` in its place."""
    notes = []
    for row in rows:
        server = next((each for each in _of(rows, row.settings) if (each.build, each.kind) == (SERVER, row.kind)), None)
        if server is None or row is server:
            continue
        done = turns.WHEN_IDLE if row.is_in_turns else WORKS
        for work in (work for work in done if work.name in row.profiles):
            where = f"{row.settings}, {row.kind}, {work.name}"
            factor = ratio(row, server, work)
            notes.append(f"{where}: {row.build} has {factor:.2f} of {SERVER}: {row.profiles[work.name].line}")
            notes.append(f"{where}: {SERVER}: {server.profiles[work.name].line}")
    return notes


def cpu_flags(facts: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Return the flags of the processor that decide how quickly it multiplies; none where there is no such file."""
    lines = facts.read_text().splitlines() if facts.exists() else []
    flags = next(
        (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))), []
    )
    return tuple(sorted(flag for flag in flags if flag.startswith(OF_SPEED)))


def native_json(rows: Sequence[NativeRow]) -> dict[str, Any]:
    """Return all figures, every round of them."""
    return {"native": {"cpu_flags": cpu_flags(), "rows": [asdict(row) for row in rows]}}
