"""The virtual environments of engines that do not share the host's: their contents, location and installation.

An environment is at ``<data_dir>/engines/<engine>``. It counts as installed once ``FINISHED`` is in it, which is
written last, so that an interrupted installation does not count. modelhost itself is not installed in it: its workers
are started by :mod:`modelhost.engines.worker.foreign_start`, which uses the package of the running host.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

import orjson

from modelhost.config.directories import make_private
from modelhost.config.environment import current
from modelhost.errors import EngineMissing

FOLDER: Final = "engines"
FINISHED: Final = "modelhost-engine.json"
PYTHON: Final = Path("Scripts", "python.exe") if sys.platform == "win32" else Path("bin", "python")
LOCKS: Final = Path(__file__).parent / "locks"
"""Lock files: the exact versions of everything in an environment, with hashes. ``make lock`` writes them."""
STEP: Final = "modelhost.engines.step"
"""The program that runs a step of an installation."""

Report = Callable[[str], None]
"""Called with each line that the installation writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an engine's environment consists of."""

    distribution: str
    """The distribution whose version is the engine's."""
    installs: tuple[tuple[str, ...], ...]
    """The arguments of each ``pip install``, one after the other."""
    module: str
    """Imported at the end as a check."""
    voices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Voices in packages, by name: the arguments of the ``pip install`` that adds each."""


def locked(name: str) -> tuple[str, ...]:
    """Return the arguments that install what the lock file ``name`` lists, and nothing else."""
    return ("--no-deps", "--require-hashes", "--requirement", str(LOCKS / f"{name}.txt"))


TORCH: Final = ("--requirement", str(LOCKS / "torch.txt"))
"""PyTorch's builds for CPUs and for GPUs share a version, so that this file can have no hashes."""


def folder_of(engine: str, data_dir: Path) -> Path:
    """Return where the environment of ``engine`` is, or would be."""
    return data_dir / FOLDER / engine


def python_of(engine: str, data_dir: Path) -> Path | None:
    """Return the Python of the environment of ``engine``; ``None`` if it is not installed, or not to its end."""
    folder = folder_of(engine, data_dir)
    python = folder / PYTHON
    return python if (folder / FINISHED).is_file() and python.exists() else None


def version_of(engine: str, data_dir: Path) -> str | None:
    """Return the engine's version in its environment; ``None`` if it is not installed, or its record is damaged."""
    if python_of(engine, data_dir) is None:
        return None
    try:
        stored = orjson.loads((folder_of(engine, data_dir) / FINISHED).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    version = stored.get("version") if isinstance(stored, dict) else None
    return version if isinstance(version, str) else None


def build_of(python: str) -> str | None:
    """Return the kind of the build in the environment of ``python``; ``None`` if its record has none."""
    try:
        stored = orjson.loads((Path(python).parents[1] / FINISHED).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    build = stored.get("build") if isinstance(stored, dict) else None
    return build if isinstance(build, str) else None


def why_unusable(engine: str, data_dir: Path) -> str | None:
    """Return why the environment of ``engine`` is not used; ``None`` if it is, or if there is none."""
    if python_of(engine, data_dir) is None or version_of(engine, data_dir) is not None:
        return None
    return f"{folder_of(engine, data_dir) / FINISHED} is damaged"


def install(engine: str, data_dir: Path, recipe: Recipe, report: Report) -> Path:
    """Make the environment of ``engine``, anew if there is one, and return its Python. Blocks for minutes.

    pip uses its own configuration and environment variables (index, proxy, cache).

    Raises:
        EngineMissing: it could not be made; the message ends with the last line of output.
    """
    folder = folder_of(engine, data_dir)
    make_private(folder.parent)
    (folder / FINISHED).unlink(missing_ok=True)
    python = folder / PYTHON
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "--no-input")
    steps: list[tuple[str, ...]] = [
        (sys.executable, "-m", "venv", "--clear", str(folder)),
        *((*pip, "install", "--progress-bar", "off", *arguments) for arguments in recipe.installs),
        (str(python), "-c", f"import {recipe.module}"),
    ]
    for step in steps:
        run_step(engine, step, report)
    finished = {"engine": engine, "version": distribution_version(folder, recipe.distribution)}
    (folder / FINISHED).write_bytes(orjson.dumps(finished, option=orjson.OPT_INDENT_2) + b"\n")
    return python


def distribution_version(folder: Path, distribution: str) -> str:
    """Return the version of ``distribution`` in the environment at ``folder``, which has it."""
    libraries = [str(path) for path in (*folder.glob("lib/python3*/site-packages"), folder / "Lib" / "site-packages")]
    return next(found.version for found in Distribution.discover(name=distribution, path=libraries))


def run_step(engine: str, argv: tuple[str, ...], report: Report, variables: Mapping[str, str] | None = None) -> None:
    """Run one step of an installation, with ``variables`` beside those of this process.

    It ends with this process, and all that it has started with it (:mod:`modelhost.engines.step`).

    Raises:
        EngineMissing: it failed.
    """
    last = ""
    try:
        with subprocess.Popen(  # noqa: S603 (programs of this machine, packages of the recipes)
            (sys.executable, "-m", STEP, *argv),
            env={**current(), "PYTHONUNBUFFERED": "1", **(variables or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.strip() or last
                report(line.rstrip())
    except OSError as error:
        raise EngineMissing(f"{engine} could not be installed: {error}", engine=engine) from error
    if process.returncode:
        reason = last or f"{Path(argv[0]).name} ended with {process.returncode}"
        raise EngineMissing(f"{engine} could not be installed: {reason}", engine=engine)
