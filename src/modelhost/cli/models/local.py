"""The implementation of the commands for the models on this machine.

Separate from the commands, because the modules that read models take long to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.text import Text

from modelhost.cli import console
from modelhost.cli.models.known import KnownModel, host_settings
from modelhost.cli.serve.starting import start_display
from modelhost.config.directories import data_directory
from modelhost.config.paths import expand_home
from modelhost.errors import ConfigError, ModelFileInvalid
from modelhost.models.files.gguf import read_header
from modelhost.models.files.hf_directory import is_hf_directory
from modelhost.models.hub.cache import cached_folder, disk_bytes, download, is_offline, remove_repository
from modelhost.models.hub.references import parse_reference
from modelhost.models.resolve import inventory
from modelhost.models.resolve.engine_choice import default_engine_for
from modelhost.models.resolve.inventory import Entry, write_inventory
from modelhost.models.resolve.inventory import Progress as OnProgress
from modelhost.models.resolve.locate import locate
from modelhost.plurals import counted

CONTEXTS: Final = (2048, 4096, 8192, 16384, 32768, 65536, 131072)


def scan(directories: Sequence[Path], output: Path, context: int | None, *, as_json: bool) -> None:
    """Find the models below ``directories``, write the inventory to ``output``, and print it."""
    with _scan_progress() as on_progress:
        found = inventory.scan(
            [expand_home(directory) for directory in directories],
            context_length=context,
            on_progress=on_progress,
            data_dir=data_directory(host_settings()),
        )
    write_inventory(output, found)
    for problem in found.problems:
        console.warning(problem)
    if as_json:
        typer.echo(output.read_text(encoding="utf-8"), nl=False)
    else:
        _print_inventory(found.entries)
        usable = sum(entry.is_usable for entry in found.entries)
        console.note(f"{counted(len(found.entries), 'model')}, {usable} usable; written to {output}")


def pull(reference: str, revision: str | None) -> None:
    """Download a model from the hub and print where it is.

    Raises:
        ConfigError: ``reference`` is no name of a model on the hub.
        SetupError: it cannot be downloaded, or no engine here can run it.
    """
    wanted = parse_reference(reference, revision)
    if wanted is None:
        raise ConfigError(
            f'"{reference}" is not the name of a model on the hub; it looks like Qwen/Qwen3-4B-GGUF:Q4_K_M'
        )
    with start_display() as display:
        runs_it = partial(default_engine_for, settings=host_settings(), what=wanted.repository)
        path = download(wanted, display.downloading, refresh=not is_offline(), on_format=runs_it)
    found = inventory.inspect(path)
    console.note(f"{wanted}: {found.quantization or found.format}, {found.size_bytes / 1e6:,.1f} MB")
    typer.echo(path)


def remove(name: str, *, is_sure: bool) -> None:
    """Remove a downloaded model from the hub's cache, after confirmation unless ``is_sure``.

    Raises:
        ModelFileInvalid: it is a file or a directory outside of the cache.
    """
    if expand_home(name).exists():
        raise ModelFileInvalid(
            f"{name} is not in the hub's cache: only downloaded models are removed, delete it yourself"
        )
    folder = cached_folder(name)
    if not is_sure:
        typer.confirm(f"Delete {folder} ({disk_bytes(folder) / 1e6:,.1f} MB)?", abort=True)
    freed_bytes = remove_repository(name)
    typer.echo(f"{name} is removed; {freed_bytes / 1e6:,.1f} MB are free again")


@contextmanager
def _scan_progress() -> Iterator[OnProgress]:
    with console.new_bar(MofNCompleteColumn()) as bar:
        task = bar.add_task("looking for models", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name or "reading")

        yield show


def _print_inventory(entries: Sequence[Entry]) -> None:
    headings = ("Model", "Parameters", "Quantization", "Size", "Memory", "Can", "Usable")
    table = console.new_table(*headings, right=("Parameters", "Size", "Memory"), fold=headings)
    for entry in entries:
        context = f" at {entry.estimate_context:,}" if entry.estimate_context else ""
        console.add_row(
            table,
            entry.name,
            format_count(entry.parameters),
            entry.quantization or "",
            format_megabytes(entry.size_bytes),
            f"{format_megabytes(entry.need_bytes)}{context}",
            ", ".join(entry.capabilities),
            "yes" if entry.is_usable else f"no: {entry.why_not}",
            style="" if entry.is_usable else "dim",
        )
    console.print_table(table)


def print_models(models: Sequence[KnownModel]) -> None:
    headings = ("Model", "From", "Size", "Details", "Path")
    table = console.new_table(*headings, right=("Size",), fold=headings)
    for model in models:
        missing = "not usable" if model.why_not else ("" if model.path else "not downloaded")
        details = "; ".join(part for part in (model.details, missing) if part)
        cells = (model.name, model.source, format_megabytes(model.size_bytes), details, model.path or "")
        console.add_row(table, *cells, style="dim" if missing else "")
    console.print_table(table)


def collect_facts(path: Path) -> dict[str, Any]:
    """Return the metadata of the model at ``path``, and its memory need by context.

    Raises:
        SetupError: it is damaged, or a directory with several models.
    """
    if path.is_dir() and not is_hf_directory({file.name for file in path.iterdir()}):
        path = locate(str(path)).path or path
    data_dir = data_directory(host_settings())
    first = inventory.inspect(path, data_dir=data_dir)
    facts: dict[str, Any] = asdict(first)
    if first.format == "gguf" and first.is_usable:
        header = asdict(read_header(path))
        facts |= {key: value for key, value in header.items() if key not in {"name", "files", "head_count_kv"}}
        facts["head_count_kv"] = sorted(set(header["head_count_kv"]))
        facts["files"] = [str(file) for file in header["files"]]
    del facts["estimate_context"]
    if first.estimate_context is None and first.is_usable:  # it has no context
        return facts | {"need_bytes_by_context": {}}
    del facts["need_bytes"]
    longest = first.context_length or CONTEXTS[1]
    contexts = sorted({context for context in CONTEXTS if context < longest} | {longest})
    entries = (inventory.inspect(path, context_length=context, data_dir=data_dir) for context in contexts)
    needs = {str(context): entry.need_bytes for context, entry in zip(contexts, entries, strict=True)}
    facts["need_bytes_by_context"] = {context: need for context, need in needs.items() if need is not None}
    return facts


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print what :func:`collect_facts` returns: a line for each fact, the memory, and the chat template."""
    lines = console.new_table("", "", fold=("",))
    for key, value in facts.items():
        if key not in {"chat_template", "need_bytes_by_context"} and value not in (None, (), []):
            console.add_row(lines, key.replace("_", " "), _as_text(key, value))
    console.print_table(lines)
    memory = console.new_table("Context", "Memory", right=("Context", "Memory"))
    for context, need in facts["need_bytes_by_context"].items():
        console.add_row(memory, f"{int(context):,}", format_megabytes(need))
    if memory.row_count:
        console.print_table(memory)
    if facts.get("chat_template"):
        Console().print(Text(f"\n{facts['chat_template']}"), soft_wrap=True)


def format_megabytes(amount: int | None) -> str:
    if amount is None:
        return ""
    return f"{amount / 1e6:,.1f} MB" if amount < 1e9 else f"{amount / 1e9:,.2f} GB"


def format_count(number: int | None) -> str:
    """Format a number of parameters, such as ``2.7M``."""
    if number is None:
        return ""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= unit:
            return f"{number / unit:.1f}{name}"
    return str(number)


def _as_text(key: str, value: Any) -> str:
    if key == "size_bytes":
        return f"{value:,} ({format_megabytes(value)})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
