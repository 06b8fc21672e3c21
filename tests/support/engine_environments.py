"""Environments of engines, as far as anybody can see who does not look for the library."""

from __future__ import annotations

import sys
from pathlib import Path

from modelhost.engines.environments import FINISHED, PYTHON, folder_of


def pretend_installed(data_dir: Path, engine: str) -> Path:
    """Have ``engine`` count as installed, in version 9.9; return its Python, which is this one."""
    folder = folder_of(engine, data_dir)
    (folder / PYTHON).parent.mkdir(parents=True)
    (folder / PYTHON).symlink_to(sys.executable)
    (folder / FINISHED).write_text('{"version": "9.9"}')
    return folder / PYTHON
