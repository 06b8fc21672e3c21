"""Environments that tests start programs from: made once from the project's lock files, in a folder that git ignores.

Each is made anew when its lock file changes. They need the network for that, and Node.js with npm those of npm.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Final

from filelock import FileLock

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = ROOT / "locks"
CACHE: Final = ROOT / ".venv-mcp-peers"
INSTALL_SECONDS: Final = 600
NODE_MAJOR: Final = 22
STAMP: Final = "installed"


class NotInstalled(Exception):
    """An environment could not be made; the message holds what the installer said last."""


def python_environment(name: str) -> Path:
    """Return the ``bin`` folder of a Python with what ``locks/<name>.txt`` lists.

    Raises:
        NotInstalled: it could not be made.
    """
    return _current(name, LOCKS / f"{name}.txt", _install_python) / "bin"


def node_modules(name: str) -> Path:
    """Return the ``node_modules`` with what ``locks/<name>/package-lock.json`` lists.

    Raises:
        NotInstalled: it could not be made, or there is no npm.
    """
    return _current(name, LOCKS / name / "package-lock.json", _install_node) / "node_modules"


def node(name: str) -> Path:
    """Return a Node.js that is new enough for the packages ``name``: that of the machine, or the one among them.

    Raises:
        NotInstalled: there is none.
    """
    found = shutil.which("node")
    if found is not None and _major(found) >= NODE_MAJOR:
        return Path(found)
    brought = sorted(node_modules(name).glob("node-*/bin/node"))
    if not brought:
        raise NotInstalled(f"Node.js {NODE_MAJOR} or newer is needed, and npm has none for this machine")
    return brought[0]


def _major(program: str) -> int:
    said = subprocess.run((program, "--version"), check=True, capture_output=True, text=True).stdout
    return int(said.strip().removeprefix("v").partition(".")[0])


def _current(name: str, lock: Path, install: Callable[[Path, Path], None]) -> Path:
    """Return the folder of an environment, made by ``install`` first if it is not there as ``lock`` says."""
    folder = CACHE / name
    stamp = folder / STAMP
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):  # tests run side by side
        if not (stamp.exists() and stamp.read_bytes() == lock.read_bytes()):
            shutil.rmtree(folder, ignore_errors=True)
            install(lock, folder)
            stamp.write_bytes(lock.read_bytes())
    return folder


def _install_python(lock: Path, folder: Path) -> None:
    venv.create(folder)
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet")
    # Most modules are never imported here, and those that are, are compiled then.
    _run(*pip, "--no-compile", "--no-deps", "--require-hashes", "--requirement", str(lock), folder=folder)


def _install_node(lock: Path, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("Node.js is not installed: `node` and `npm` are needed (version 20 or later)")
    folder.mkdir()
    for file in (lock, lock.with_name("package.json")):
        shutil.copy(file, folder)
    _run(npm, "ci", "--no-fund", "--no-audit", "--prefix", str(folder), folder=folder)


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, check=False, timeout=INSTALL_SECONDS, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotInstalled(f"{folder} could not be made:\n{done.stderr[-2000:]}")
