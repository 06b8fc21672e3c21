"""The rows ``proxies``, ``native`` and ``settings``, measured by name only: they need time, or environments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.larger import KINDS
from bench.measure import LoadGenerator
from bench.rivals.native import SETTINGS, Machine, NativeEffort, NativeRow, measure_native
from bench.rivals.native_report import native_json, native_notes, native_tables
from bench.rivals.proxies import CLIENTS, ProxyEffort, ProxyRow, measure_proxies
from bench.rivals.proxies_report import proxies_json, proxies_notes, proxies_table
from bench.rivals.settings import SettingRow, measure_settings
from bench.rivals.settings_report import settings_json, settings_table
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
    machine = Machine.found(options.llama_server)
    problems += machine.problems
    try:
        effort = NativeEffort(
            rounds=rounds,
            turns=options.turns,
            kinds=options.kind or KINDS,
            settings=[each for each in SETTINGS if (options.load or "") in each],
        )
        return list(measure_native(effort, machine, log))
    except StartError as error:
        problems.append(f"native: {error}")
        return []


def measured_settings(options: argparse.Namespace, log: Path, rounds: int, problems: list[str]) -> list[SettingRow]:
    """Return the rows of the settings of llama.cpp, as :func:`measured_proxies` does."""
    if "settings" not in (options.only or ()):
        return []
    try:
        return list(measure_settings(rounds, options.load, options.kind or KINDS, log))
    except StartError as error:
        problems.append(f"settings: {error}")
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """All that was measured of them."""

    proxies: Sequence[ProxyRow] = ()
    native: Sequence[NativeRow] = ()
    settings: Sequence[SettingRow] = ()

    @property
    def tables(self) -> list[Table]:
        """The tables of what was measured."""
        return [
            *([proxies_table(self.proxies)] if self.proxies else ()),
            *native_tables(self.native),
            *([settings_table(self.settings)] if self.settings else ()),
        ]

    @property
    def notes(self) -> list[str]:
        """What has to be known to read the tables."""
        return [*proxies_notes(self.proxies), *native_notes(self.native)]

    @property
    def json(self) -> dict[str, Any]:
        """All figures."""
        return proxies_json(self.proxies) | native_json(self.native) | settings_json(self.settings)
