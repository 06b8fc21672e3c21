"""``modelhost engines install``: an environment for an engine, or the best build of llama.cpp for the machine."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from modelhost.cli import console
from modelhost.config.directories import make_private
from modelhost.config.settings import Settings
from modelhost.engines import TRAITS, environments
from modelhost.engines.environments import folder_of
from modelhost.engines.installed import how_to_install, recipe_for
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp import build as builds
from modelhost.engines.llamacpp import machine as machines
from modelhost.engines.llamacpp.build_check import Checked, check, failed
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.llamacpp.installation import OPTION as SERVER
from modelhost.engines.llamacpp.installation import features_of
from modelhost.engines.llamacpp.record import BuildRecord, locked_version, read_record, why_unused, write_record
from modelhost.engines.traits import Build
from modelhost.errors import EngineMissing, ModelhostError
from modelhost.models.resolve.resolve import resolve
from modelhost.workers.gpus import cuda_version, gpus, installed_gpu
from modelhost.workers.launching import launch_worker
from modelhost.workers.machine import allowed_cores, available_memory
from modelhost.workers.process import WorkerProcess
from modelhost.workers.worker import Worker

TENTHS: Final = 10
CHECK_CONTEXT: Final = 1024
SECONDS_TO_START: Final = 60.0
"""For a worker with the bundled model, in the check of a build."""


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


def install_environment(engine: str, data_dir: Path, voice: str | None = None) -> None:
    """Create an environment with ``engine``, and with ``voice``, for the hosts of ``data_dir``."""

    def report(line: str) -> None:
        """Print one line for each package that pip collects."""
        words = line.split()
        if words[:1] == ["Collecting"]:
            console.note(f"  {words[1]}")

    recipe = recipe_for(engine, has_cuda=bool(gpus()))
    if voice is not None:
        if voice not in recipe.voices:
            raise typer.BadParameter(f"there is no voice {voice} to install; there are {', '.join(recipe.voices)}")
        recipe = replace(recipe, installs=(*recipe.installs, recipe.voices[voice]))
    python = environments.install(engine, data_dir, recipe, report)
    console.note(f"{engine} {environments.version_of(engine, data_dir)} is installed: {python.parents[1]}")


def install_llamacpp(wanted: Build | None, data_dir: Path, wheels: str | None, *, force: bool = False) -> None:
    """Make the build ``wanted``, or the best for this machine, and have hosts of ``data_dir`` use it.

    One that hosts use already is kept, unless ``force`` is given. A build that is slower than the wheel is used only if
    it is ``wanted``. ``wheels``: where the wheels for accelerators are; ``None``: at the index of their project.

    Raises:
        EngineMissing: it could not be made, or does not pass its check. What hosts used before stays.
    """
    gpu = installed_gpu()
    machine = machines.this_machine(None if gpu is None else gpu.build)
    better = machines.better_build(machine)
    build = wanted or (better.build if better else None)
    if build is None:
        console.note(
            f"The wheel that came with modelhost is the best build for this machine{_named(machine)}: nothing to do. "
            f"`{machines.BUILD_COMMAND} --build native` builds it nevertheless."
        )
        return
    if problem := machines.why_unavailable(build, machine):
        raise typer.BadParameter(problem)
    command = machines.BUILD_COMMAND if wanted is None else f"{machines.BUILD_COMMAND} --build {wanted}"
    if not force and (there := _usable_build(build, machine, data_dir)) is not None:
        console.note(f"llamacpp {there.version} ({there.build}) is here already: {folder_of(LlamaCpp.name, data_dir)}")
        _note_check(there)
        console.note(f"Nothing to do. `{command} --force` builds it again.")
        return
    if gpu is None and build in machines.GPUS:
        console.note("No GPU was found here; without one, the build cannot pass its check at the end.")
    workshop = builds.BuildDirectory(data_dir=data_dir)
    make_private(workshop.log.parent)
    with workshop.log.open("w", buffering=1) as log, builds.build_lock(workshop):
        record = _made(build, workshop, machine, wheels or builds.WHEELS, log)
        if record.is_slower and wanted is None:
            builds.discard_build(workshop)
            console.warning(f"the build is slower than the wheel ({record.gain}), and is not used")
            console.note(
                f"`{machines.BUILD_COMMAND} --build {build}` uses it nevertheless; what is compiled is kept for that."
            )
            return
        write_record(record, workshop.made)
        place = builds.activate_build(workshop).parents[1]
    console.note(f"llamacpp {record.version} ({record.build}) is installed: {place}")
    _note_check(record)
    if record.is_slower:
        console.warning(f"this build is slower than the wheel ({record.gain}); to go back to the wheel, remove {place}")


def _usable_build(build: Build, machine: machines.Machine, data_dir: Path) -> BuildRecord | None:
    """Return the record of a build of this kind, version and machine that is here and runs; ``None``: there is none."""
    record, python = read_record(data_dir), environments.python_of(LlamaCpp.name, data_dir)
    if record is None or python is None or record.build != build or why_unused(data_dir) is not None:
        return None
    if record.is_compiled_here and record.processor != machine.processor.name:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return record if features_of(str(python)) else None
    return None


def _note_check(record: BuildRecord) -> None:
    found = "; ".join(filter(None, (record.gain, record.likeness, "" if record.has_llguidance else "no llguidance")))
    console.note(f"  checked with the bundled model: {found}")


def _named(machine: machines.Machine) -> str:
    return f" ({machine.processor.name})" if machine.processor.name else ""


def _made(
    build: Build, workshop: builds.BuildDirectory, machine: machines.Machine, wheels: str, log: TextIO
) -> BuildRecord:
    """Make and check ``build``: from a wheel for the accelerator where there is one that works, else from source."""
    cuda = cuda_version()
    index = builds.wheel_index(build, wheels, cuda)
    if index is None and build in builds.VARIABLES:
        console.note(f"not looking for a wheel at {wheels}: {builds.why_no_index(build, cuda)}")
    if index is not None:
        console.note(f"looking for a wheel at {index}")
        try:
            python = builds.install_wheel(index, workshop, report=_Report(log).line)
            return _record(build, machine, asyncio.run(check_build(python, build)), is_compiled_here=False)
        except EngineMissing as error:
            console.note(f"{error.message}. It is built from source instead.")
    console.note(f"building llama.cpp for this machine ({build}), which takes minutes; log: {workshop.log}")
    try:
        with _shown(log) as report:
            python = builds.compile_build(
                build, workshop, jobs=builds.jobs_for(allowed_cores(), available_memory()), report=report.line
            )
    except EngineMissing as error:
        if error.details.get("missing"):
            raise  # nothing has been begun
        way_on = f"The log is {workshop.log}; the same command goes on where this one has ended."
        raise EngineMissing(f"{error.message}\n{way_on}", **error.details) from error
    console.note("checking it beside the wheel")
    return _record(build, machine, asyncio.run(check_build(python, build)), is_compiled_here=True)


def _record(build: Build, machine: machines.Machine, checked: Checked, *, is_compiled_here: bool) -> BuildRecord:
    return BuildRecord(
        version=locked_version(),
        build=build,
        is_compiled_here=is_compiled_here,
        has_llguidance=checked.has_llguidance,
        features=checked.features,
        needs=machines.compiled_for(machine.processor.flags) if is_compiled_here else (),
        processor=machine.processor.name,
        factors=checked.factors,
        scores_differ_by=checked.scores_differ_by,
        other_answers=checked.other_answers,
    )


async def check_build(python: Path, build: Build) -> Checked:
    """Check the build in the environment of ``python``.

    Raises:
        EngineMissing: it does not do what the wheel does; the message says what.
    """
    wheel = replace(bundled_model(), name="llama.cpp's wheel", python=None, has_fallback=False)
    built = replace(wheel, name="the build", python=str(python))
    try:
        async with AsyncExitStack() as stack:
            workers = [await _started(spec, stack) for spec in (wheel, built)]
            return await check(workers[0], workers[1], build)
    except EngineMissing:
        raise
    except ModelhostError as error:
        raise failed(error.message) from error


def bundled_model() -> ModelSpec:
    """Return the bundled model for the library itself, whatever program the environment names in its place."""
    options = {SERVER: ""}
    settings = {"engine": LlamaCpp.name, "context_length": CHECK_CONTEXT, "slots": 1, "engine_options": options}
    return resolve(Settings.model_validate(settings)).spec


async def _started(spec: ModelSpec, stack: AsyncExitStack) -> Worker:
    worker = await launch_worker(spec, LlamaCpp(), timeout_seconds=SECONDS_TO_START, start_process=WorkerProcess.start)
    stack.push_async_callback(worker.close)
    return worker


class _Report:
    def __init__(self, log: TextIO, bar: Progress | None = None) -> None:
        self._log, self._bar = log, bar
        self._task = bar.add_task("compiling", total=None) if bar else None
        self._tenth = -1

    def line(self, line: str) -> None:
        self._log.write(f"{line}\n")
        if line.startswith(("with llguidance", "without llguidance", "going on")):
            console.note(f"  {line}")
        if (found := builds.progress_in(line)) is not None:
            self._show(*found)

    def _show(self, done: int, total: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif (tenth := done * TENTHS // total) > self._tenth:
            self._tenth = tenth
            console.note(f"  compiled {done} of {total} files")


@contextlib.contextmanager
def _shown(log: TextIO) -> Iterator[_Report]:
    if not console.stderr_is_terminal():
        yield _Report(log)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Report(log, bar)
