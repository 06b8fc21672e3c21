"""``modelhost engines install``: an environment for an engine, or the best build of llama.cpp for the machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from modelhost.cli import console
from modelhost.cli.engines.advice import machine_here
from modelhost.config.directories import make_private
from modelhost.engines import TRAITS, environments
from modelhost.engines.installed import how_to_install, recipe_for
from modelhost.engines.llamacpp.build import (
    WHEELS,
    BuildDirectory,
    activate_build,
    build_lock,
    compile_build,
    install_wheel,
    jobs_for,
    progress_in,
    wheel_index,
)
from modelhost.engines.llamacpp.machine import (
    BUILD_COMMAND,
    Build,
    Machine,
    better_build,
    compiled_for,
    why_unavailable,
)
from modelhost.engines.llamacpp.record import BuildRecord, locked_version, write_record
from modelhost.errors import EngineMissing
from modelhost.models.resolve.build_check import Checked, check_build
from modelhost.workers.gpus import cuda_version, gpus
from modelhost.workers.machine import allowed_cores, available_memory

TENTHS: Final = 10


def check_installable(engine: str) -> None:
    """Check that ``engine`` can have an environment of its own.

    Raises:
        typer.BadParameter: it cannot; the message says how it is installed, if it is an engine.
    """
    if engine not in TRAITS:
        raise typer.BadParameter(f"{engine} is no engine; there are {', '.join(TRAITS)}")
    installation = TRAITS[engine].installation
    if installation.builds is not None or installation.environment is not None:
        return
    if not installation.modules:
        raise typer.BadParameter(f"{engine} is built in")
    raise typer.BadParameter(f"{engine} lives in the Python of modelhost itself: {how_to_install(engine)}")


def has_builds(engine: str) -> bool:
    """Return whether ``engine`` is built for the machine, instead of having an environment of its own."""
    return TRAITS[engine].installation.builds is not None


def install_environment(engine: str, data_dir: Path) -> None:
    """Create an environment with ``engine`` for the hosts of ``data_dir``."""

    def report(line: str) -> None:
        """Print one line for each package that pip collects."""
        words = line.split()
        if words[:1] == ["Collecting"]:
            console.note(f"  {words[1]}")

    recipe = recipe_for(engine, has_cuda=bool(gpus()))
    python = environments.install(engine, data_dir, recipe, report)
    console.note(f"{engine} {environments.version_of(engine, data_dir)} is installed: {python.parents[1]}")


def install_llamacpp(wanted: Build | None, data_dir: Path, wheels: str | None) -> None:
    """Make the build ``wanted``, or the best for this machine, and have hosts of ``data_dir`` use it.

    ``wheels``: where the wheels for accelerators are; ``None``: at the index of their project.

    Raises:
        EngineMissing: it could not be made, or does not pass its check. What hosts used before stays.
    """
    machine = machine_here()
    better = better_build(machine)
    build = wanted or (better.build if better else None)
    if build is None:
        console.note(
            f"The wheel that came with modelhost is the best build for this machine{_named(machine)}: nothing to do. "
            f"`{BUILD_COMMAND} --build native` builds it nevertheless."
        )
        return
    if problem := why_unavailable(build, machine):
        raise typer.BadParameter(problem)
    workshop = BuildDirectory(data_dir=data_dir)
    make_private(workshop.log.parent)
    with workshop.log.open("w", buffering=1) as log, build_lock(workshop):
        record = _made(build, workshop, machine, wheels or WHEELS, log)
        write_record(record, workshop.made)
        python = activate_build(workshop)
    console.note(f"llamacpp {record.version} ({record.build}) is installed: {python.parents[1]}")
    console.note(f"  checked with the bundled model: {record.gain}{'' if record.has_llguidance else '; no llguidance'}")


def _named(machine: Machine) -> str:
    return f" ({machine.processor.name})" if machine.processor.name else ""


def _made(build: Build, workshop: BuildDirectory, machine: Machine, wheels: str, log: TextIO) -> BuildRecord:
    """Make and check ``build``: from a wheel for the accelerator where there is one that works, else from source."""
    if index := wheel_index(build, wheels, cuda_version()):
        console.note(f"looking for a wheel at {index}")
        try:
            python = install_wheel(index, workshop, report=_Report(log).line)
            return _record(build, machine, asyncio.run(check_build(python, build)), is_compiled_here=False)
        except EngineMissing as error:
            console.note(f"{error.message}. It is built from source instead.")
    console.note(f"building llama.cpp for this machine ({build}), which takes minutes; log: {workshop.log}")
    try:
        with _shown(log) as report:
            python = compile_build(
                build, workshop, jobs=jobs_for(allowed_cores(), available_memory()), report=report.line
            )
    except EngineMissing as error:
        way_on = f"The log is {workshop.log}; the same command goes on where this one has ended."
        raise EngineMissing(f"{error.message}\n{way_on}", **error.details) from error
    console.note("checking it beside the wheel")
    return _record(build, machine, asyncio.run(check_build(python, build)), is_compiled_here=True)


def _record(build: Build, machine: Machine, checked: Checked, *, is_compiled_here: bool) -> BuildRecord:
    return BuildRecord(
        version=locked_version(),
        build=build,
        is_compiled_here=is_compiled_here,
        has_llguidance=checked.has_llguidance,
        features=checked.features,
        needs=compiled_for(machine.processor.flags) if is_compiled_here else (),
        processor=machine.processor.name,
        factors=checked.factors,
    )


class _Report:
    """Writes output to the log, and shows the progress of the build as a bar or as a line for each tenth."""

    def __init__(self, log: TextIO, bar: Progress | None = None) -> None:
        self._log, self._bar = log, bar
        self._task = bar.add_task("compiling", total=None) if bar else None
        self._tenth = -1

    def line(self, line: str) -> None:
        self._log.write(f"{line}\n")
        if line.startswith(("with llguidance", "without llguidance", "going on")):
            console.note(f"  {line}")
        if (found := progress_in(line)) is not None:
            self._show(*found)

    def _show(self, done: int, total: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif (tenth := done * TENTHS // total) > self._tenth:
            self._tenth = tenth
            console.note(f"  compiled {done} of {total} files")


@contextlib.contextmanager
def _shown(log: TextIO) -> Iterator[_Report]:
    """Yield a report, with a temporary progress bar on a terminal."""
    if not console.stderr_is_terminal():
        yield _Report(log)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Report(log, bar)
