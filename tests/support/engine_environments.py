"""Environments of engines, as far as anybody can see who does not look for the library."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

from modelhost.engines.environments import FINISHED, PYTHON, folder_of
from modelhost.engines.llamacpp.record import BuildRecord, write_record


def pretend_installed(data_dir: Path, engine: str) -> Path:
    """Have ``engine`` count as installed, in version 9.9; return its Python, which is this one."""
    folder = folder_of(engine, data_dir)
    (folder / PYTHON).parent.mkdir(parents=True)
    (folder / PYTHON).symlink_to(sys.executable)
    (folder / FINISHED).write_text('{"version": "9.9"}')
    return folder / PYTHON


def pretend_built(data_dir: Path, record: BuildRecord, library: str | None = None) -> Path:
    """Have a build of llama.cpp count as installed; return its Python.

    ``library``: the code of its library, for a Python that is to be run.
    """
    folder = folder_of(record.engine, data_dir)
    if library is None:
        (folder / PYTHON).parent.mkdir(parents=True)
        (folder / PYTHON).symlink_to(sys.executable)
    else:
        venv.create(folder, symlinks=True)
        (packages,) = folder.glob("lib/python3*/site-packages")
        (packages / "xllamacpp.py").write_text(library)
    write_record(record, folder)
    return folder / PYTHON
