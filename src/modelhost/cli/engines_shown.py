"""The engines of this machine for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from modelhost.engines.traits import EngineFacts


def engines_table(engines: Sequence[EngineFacts]) -> Table:
    """A row for each engine."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Engine", "Version", "Reads", "Can", "Where"):
        table.add_column(title, overflow="fold")
    for engine in engines:
        version = engine.version or ("built in" if engine.is_installed else "not installed")
        if engine.build is not None:
            version = f"{version} ({engine.build})"
        can = ", ".join(engine.can) if engine.why_not is None else engine.why_not
        cells = (engine.name, version, engine.reads, can, engine.location or "")
        table.add_row(*map(Text, cells), style=None if engine.is_installed else "dim")
    return table


def remarks(engines: Sequence[EngineFacts]) -> list[str]:
    """What is to be said below the table: how quick a build is, and what could be better."""
    return [*(_build_line(engine) for engine in engines if engine.factors), *(e.remark for e in engines if e.remark)]


def _build_line(engine: EngineFacts) -> str:
    factors = ", ".join(f"{what} {factor:.2f} times" for what, factor in (engine.factors or {}).items())
    guidance = "with" if engine.has_llguidance else "without"
    return f"{engine.name} ({engine.build}), as fast as the wheel in its check: {factors}; {guidance} llguidance."
