"""The models of this machine for a person: tables, facts, and a bar while they are looked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from modelhost.cli.models.known import KnownModel, configured
from modelhost.config.directories import data_directory
from modelhost.models.files.gguf import read_header
from modelhost.models.resolve.inventory import Entry, inspect
from modelhost.models.resolve.inventory import Progress as OnProgress
from modelhost.models.resolve.locate import locate

CONTEXTS: Final = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
_PIPED_WIDTH: Final = 1000  # a table that is not for a terminal keeps each model on one line


@contextmanager
def scan_progress() -> Iterator[OnProgress]:
    """A bar on a terminal; nothing where stderr is none."""
    terminal = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("looking for models", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name or "reading")

        yield show


def print_plain(table: Table) -> None:
    """Print ``table`` on standard output."""
    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=_PIPED_WIDTH)).print(table)


def inventory_table(entries: Sequence[Entry]) -> Table:
    """A row for each model that a scan found."""
    table = _table("Model", "Parameters", "Quantization", "Size", "Memory", "Can", "Usable", right=(1, 3, 4))
    for entry in entries:
        context = f" at {entry.estimate_context:,}" if entry.estimate_context else ""
        _add_row(
            table,
            entry.name,
            count(entry.parameters),
            entry.quantization or "",
            megabytes(entry.size_bytes),
            f"{megabytes(entry.need_bytes)}{context}",
            ", ".join(entry.capabilities),
            "yes" if entry.is_usable else f"no: {entry.why_not}",
            is_dim=not entry.is_usable,
        )
    return table


def models_table(models: Sequence[KnownModel]) -> Table:
    """A row for each model that is known here."""
    table = _table("Model", "From", "Size", "Details", "Path", right=(2,))
    for model in models:
        missing = "not usable" if model.why_not else ("" if model.path else "not downloaded")
        details = "; ".join(part for part in (model.details, missing) if part)
        _add_row(
            table,
            model.name,
            model.source,
            megabytes(model.size_bytes),
            details,
            model.path or "",
            is_dim=bool(missing),
        )
    return table


def facts_of(path: Path) -> dict[str, Any]:
    """Return all that the model at ``path`` says, and its need of memory by context.

    Raises:
        SetupError: it is damaged, or a directory with several models.
    """
    if path.is_dir() and not (path / "config.json").is_file():
        path = locate(str(path)).path or path
    data_dir = data_directory(configured())
    first = inspect(path, data_dir=data_dir)
    facts: dict[str, Any] = asdict(first)
    if first.format == "gguf" and first.is_usable:
        header = asdict(read_header(path))
        facts |= {key: value for key, value in header.items() if key not in {"name", "files", "head_count_kv"}}
        facts["head_count_kv"] = sorted(set(header["head_count_kv"]))
        facts["files"] = [str(file) for file in header["files"]]
    for key in ("need_bytes", "estimate_context"):
        del facts[key]
    longest = first.context_length or CONTEXTS[1]
    contexts = sorted({context for context in CONTEXTS if context < longest} | {longest})
    needs = {context: inspect(path, context_length=context, data_dir=data_dir).need_bytes for context in contexts}
    facts["need_bytes_by_context"] = {str(context): need for context, need in needs.items() if need is not None}
    return facts


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print what :func:`facts_of` returns: a line a fact, then the memory, then the chat template."""
    lines = _table("", "")
    for key, value in facts.items():
        if key not in {"chat_template", "need_bytes_by_context"} and value not in (None, (), []):
            _add_row(lines, key.replace("_", " "), _as_text(key, value))
    print_plain(lines)
    memory = _table("Context", "Memory", right=(0, 1))
    for context, need in facts["need_bytes_by_context"].items():
        _add_row(memory, f"{int(context):,}", megabytes(need))
    if memory.row_count:
        print_plain(memory)
    if facts.get("chat_template"):
        Console().print(Text(f"\n{facts['chat_template']}"), soft_wrap=True)


def megabytes(amount: int | None) -> str:
    """Bytes for a person."""
    if amount is None:
        return ""
    return f"{amount / 1e6:,.1f} MB" if amount < 1e9 else f"{amount / 1e9:,.2f} GB"


def count(number: int | None) -> str:
    """A number of parameters for a person, such as ``2.7M``."""
    if number is None:
        return ""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= unit:
            return f"{number / unit:.1f}{name}"
    return str(number)


def _as_text(key: str, value: Any) -> str:
    if key == "size_bytes":
        return f"{value:,} ({megabytes(value)})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _table(*headings: str, right: Sequence[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(headings))
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index in right else "left", overflow="fold")
    return table


def _add_row(table: Table, *cells: str, is_dim: bool = False) -> None:
    """Add text as it is: names of files may hold what rich takes for markup."""
    table.add_row(*(Text(cell) for cell in cells), style="dim" if is_dim else "")
