"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.contenders import ENGINES
from bench.larger import KINDS
from bench.loads import STREAMS, loads
from bench.rivals.native import SETTINGS
from bench.rivals.settings import LOADS, VARIANTS

DESCRIPTION: Final = "Measures the host beside the bare worker, prints a table and writes JSON."
ROWS: Final = ("scripted", "nano", "startup", "unloaded", "alternating", "engines", "tools", "state", "mcp", "doors")
BY_NAME: Final = ("proxies", "native", "settings", "media")
ENGINE_OF: Final = {"scripted": "scripted", "nano": "llamacpp"}
"""The engine of the rows that are measured with each load."""
RESULTS: Final = Path(__file__).parent / "results"


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what ``arguments`` (default: those of the process) ask for; ends the process if they contradict."""
    reader = parser()
    options = reader.parse_args(arguments)
    if problem := _problem(options):
        reader.error(problem)
    return options


def _problem(options: argparse.Namespace) -> str:
    """Return why nothing, or something else, would be measured; empty if all is well."""
    rows = set(options.only or ROWS)
    if options.turns is not None and "native" not in rows:
        return "--turns is for native, which is measured by name only: --only native"
    if options.kind and rows.isdisjoint(("native", "settings")):
        return "--kind is for native and settings, which are measured by name only: --only native"
    names = [name for row in rows for name in _names(row)]
    if options.load and not any(options.load in name for name in names):
        there = f"there are: {', '.join(sorted(names))}" if names else "it is for scripted, nano, native and settings"
        return f'--load "{options.load}" selects nothing of {", ".join(sorted(rows))}; {there}'
    return ""


def _names(row: str) -> Sequence[str]:
    """Return what ``--load`` selects of ``row``."""
    if row == "native":
        return SETTINGS
    if row == "settings":
        return [*LOADS, *(each.name for each in VARIANTS)]
    return [load.name for load in loads(quick=True) if load.engine == ENGINE_OF.get(row)]


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    arguments = argparse.ArgumentParser(prog="bench", description=DESCRIPTION)
    arguments.add_argument("--quick", action="store_true", help="a fraction of the time")
    arguments.add_argument(
        "--only",
        choices=(*ROWS, *BY_NAME),
        action="append",
        help=f"only these rows; {', '.join(BY_NAME)} are measured by name only",
    )
    arguments.add_argument("--engine", choices=ENGINES, action="append", help="only this one of the engines")
    arguments.add_argument("--streams", type=_numbers, default=STREAMS, help="such as 1,8")
    arguments.add_argument("--clients", type=_numbers, help="of the proxies, such as 1,16")
    arguments.add_argument(
        "--llama-server",
        type=_program,
        help="for native: a llama-server (default: that of `make native`, or without it that of PATH)",
    )
    arguments.add_argument("--kind", choices=KINDS, action="append", help="of native and settings: only such files")
    arguments.add_argument("--rounds", type=_count, help="pairs of runs per row (default 3; quick 1)")
    arguments.add_argument(
        "--turns",
        type=_count,
        help="of native: short turns with intervals instead of rounds (default on a busy machine: 30)",
    )
    arguments.add_argument(
        "--load", help="only loads, settings, or machines of these (idle, busy), with this text in their name"
    )
    arguments.add_argument("--model", type=Path, help="GGUF file instead of the bundled model")
    arguments.add_argument(
        "--larger",
        action="store_true",
        help="of the engines, llama.cpp: a model of 120 million random weights instead of the bundled one",
    )
    arguments.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON and the log")
    arguments.add_argument(
        "--check",
        action="store_true",
        help="compare with another revision instead, and fail if the working tree is worse",
    )
    arguments.add_argument("--against", metavar="REVISION", help="for --check (default: that in bench/reference)")
    return arguments


def _program(text: str) -> Path:
    path = Path(text)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise argparse.ArgumentTypeError(f"{text} is no program")
    return path


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
