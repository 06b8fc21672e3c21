"""Hosts with real weights, in the environment that ``make test-media`` makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving import ServedHost
from tests.support.sound_weights import write_whisper_base

ENVIRONMENT = "MODELHOST_TEST_MEDIA"
"""The environment with the engines for sound and with the weights."""


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
def listener(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with Whisper base, for sound of a minute at most."""
    whisper = write_whisper_base(python, tmp_path_factory.mktemp("whisper-base"))
    options = {"max_minutes": 1}
    with ServedHost(model=str(whisper), alias=["whisper-1"], worker_python=python, engine_options=options) as host:
        yield host
