"""Hosts with real weights, in the environment that ``make test-media`` makes, and what tests of images need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.image_pipelines import KINDS, data_dir_with_engine, write_pipelines
from tests.support.serving import ServedHost
from tests.support.sound_weights import write_whisper_base

ENVIRONMENT = "MODELHOST_TEST_MEDIA"
"""The environment with the engines for sound and with the weights."""
IMAGES = "MODELHOST_TEST_IMAGES"
"""The environment with the engine for images, which ``make test-images`` makes."""


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


@pytest.fixture(scope="session")
def image_python() -> str:
    """The Python with the engine for images."""
    folder = os.environ.get(IMAGES)
    return str(Path(folder) / "bin" / "python") if folder else pytest.skip("run by `make test-images`")


@pytest.fixture(scope="session")
def pipelines(image_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a pipeline of each kind."""
    return write_pipelines(image_python, tmp_path_factory.mktemp("pipelines"), *KINDS)


@pytest.fixture(scope="session")
def data_dir(image_python: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data directory with the engine for images."""
    return str(data_dir_with_engine(image_python, tmp_path_factory.mktemp("data")))
