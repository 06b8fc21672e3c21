"""What the benchmark shows of builds of llama.cpp: a table for people, values for the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.rivals.native import CLIENTS, ENGINE, READING, WRITING, NativeRow, Work

OF_SPEED: Final = ("avx", "fma", "f16c", "bmi2", "amx", "sve", "asimd", "i8mm", "neon")
WHAT_HELPS: Final = (
    "the engine on a build of this machine's own (minutes of compiling; needs cmake and a C++ compiler): "
    'CMAKE_ARGS="-DLLAMA_BUILD_BORINGSSL=OFF -DLLAMA_LLGUIDANCE=OFF" '
    "pip install --force-reinstall --no-deps --no-binary xllamacpp xllamacpp"
)


def native_table(rows: Sequence[NativeRow]) -> Table:
    """Return the table; a share is the engine's speed over that of the build in the row."""
    works = [(work, clients) for work in (READING, WRITING) for clients in CLIENTS]
    title = "llama.cpp, 120 million random weights (tokens/s of all clients, medians of the rounds; engine over build)"
    table = Table("file", "build", title=title, title_justify="left")
    for work, clients in works:
        table.add_column(f"{work.name}, {clients} client{'s' if clients > 1 else ''}", justify="right")
        table.add_column("engine over it", justify="right")
    for row in rows:
        if row.build == ENGINE:
            table.add_section()
        cells = (cell for work, clients in works for cell in _cells(row, rows, work, clients))
        table.add_row(row.kind if row.build == ENGINE else "", row.build, *cells)
    return table


def _cells(row: NativeRow, rows: Sequence[NativeRow], work: Work, clients: int) -> tuple[str, str]:
    speed = row.speed(work, clients)
    (engine,) = (each for each in rows if each.build == ENGINE and each.kind == row.kind)
    share = "" if row.build == ENGINE else f"{engine.speed(work, clients) / speed:.3f}"
    return f"{speed:,.1f}", share


def native_notes(rows: Sequence[NativeRow]) -> list[str]:
    """Return what the processor can do that matters here, and how a user gets a build for it."""
    return [f"this processor has: {' '.join(cpu_flags()) or 'flags that the system does not tell'}", WHAT_HELPS] * bool(
        rows
    )


def cpu_flags(facts: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Return the flags of the processor that decide how quickly it multiplies; none where there is no such file."""
    lines = facts.read_text().splitlines() if facts.exists() else []
    flags = next(
        (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))), []
    )
    return tuple(sorted(flag for flag in flags if flag.startswith(OF_SPEED)))


def native_json(rows: Sequence[NativeRow]) -> dict[str, Any]:
    """Return all figures, every round of them."""
    return {
        "native": {
            "cpu_flags": cpu_flags(),
            "rows": [
                asdict(row) | {"speeds": {f"{name}, {clients}": seen for (name, clients), seen in row.speeds.items()}}
                for row in rows
            ],
        }
    }
