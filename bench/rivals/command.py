"""The rows ``proxies`` and ``native``, which are measured by name only: they need environments of their own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.measure import LoadGenerator
from bench.rivals.native import NativeRow, measure_native
from bench.rivals.native_report import native_json, native_notes, native_table
from bench.rivals.proxies import CLIENTS, ProxyEffort, ProxyRow, measure_proxies
from bench.rivals.proxies_report import proxies_json, proxies_notes, proxies_table
from bench.sides import StartError


def measured_proxies(
    generator: LoadGenerator, options: argparse.Namespace, log: Path, rounds: int, problems: list[str]
) -> list[ProxyRow]:
    """Return the rows of the proxies, none if they are not asked for; ``problems`` says what is missing."""
    if "proxies" not in (options.only or ()):
        return []
    clients, seconds = options.clients or CLIENTS, 1.0 if options.quick else 3.0
    try:
        effort = ProxyEffort(rounds=rounds, seconds=seconds, clients=clients)
        return list(measure_proxies(generator, effort, log, problems))
    except StartError as error:
        problems.append(f"proxies: {error}")
        return []


def measured_native(options: argparse.Namespace, log: Path, rounds: int, problems: list[str]) -> list[NativeRow]:
    """Return the rows of the builds of llama.cpp, as :func:`measured_proxies` does."""
    if "native" not in (options.only or ()):
        return []
    try:
        return list(measure_native(rounds, options.llama_server, log, problems))
    except StartError as error:
        problems.append(f"native: {error}")
        return []


def rival_tables(proxies: Sequence[ProxyRow], native: Sequence[NativeRow]) -> list[Table]:
    """Return a table for each of the two that was measured."""
    return [*([proxies_table(proxies)] if proxies else ()), *([native_table(native)] if native else ())]


def rival_notes(proxies: Sequence[ProxyRow], native: Sequence[NativeRow]) -> list[str]:
    """Return what has to be known to read the tables."""
    return [*proxies_notes(proxies), *native_notes(native)]


def rivals_json(proxies: Sequence[ProxyRow], native: Sequence[NativeRow]) -> dict[str, Any]:
    """Return all figures."""
    return proxies_json(proxies) | native_json(native)
