"""Tiny pipelines with random weights, and a data directory with the engine for images, for tests and measurements."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

KINDS: Final = ("stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux")
MAKER: Final = Path(__file__).parents[1] / "media" / "make_pipelines.py"


def write_pipelines(python: str, folder: Path, *kinds: str) -> Path:
    """Write a pipeline of each of ``kinds`` below ``folder`` and return that; ``python`` has the engine."""
    subprocess.run([python, "-W", "ignore", str(MAKER), str(folder), *kinds], check=True)
    return folder


def data_dir_with_engine(python: str, folder: Path) -> Path:
    """Return ``folder`` as ``modelhost engines install diffusers`` leaves it: with the environment of ``python``."""
    made = folder / "engines" / "diffusers"
    made.mkdir(parents=True)
    for each in Path(python).parents[1].iterdir():
        (made / each.name).symlink_to(each)
    (made / "modelhost-engine.json").unlink(missing_ok=True)
    (made / "modelhost-engine.json").write_text('{"engine": "diffusers", "version": "0"}')
    return folder
