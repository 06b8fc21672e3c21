"""A new engine is one package and one line in one table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.forked import RUNNER

TRAITS = """
from modelhost.engines.traits import EngineTraits

TRAITS = EngineTraits(name="tiny", serves="script", reads="nothing", can=("chat",))
"""
ENGINE = """
from modelhost.engines import ENGINES
from modelhost.engines.base import AcceptedParams, Engine
from modelhost.engines.load_config import configure_load, fixed_fields
from modelhost.errors import EngineError


class Tiny(Engine):
    name = "tiny"

    def accept(self, params):
        return AcceptedParams(settings={})

    def configure_load(self, config, baseline):
        return configure_load(fixed_fields("a tiny engine has no model"), config, baseline)

    def launch(self, spec, api_key):
        return ENGINES["scripted"].launch(spec, api_key)

    def fields(self, task):
        return frozenset()

    def adapt(self, task, body):
        return body

    def translate_error(self, status, payload, *, model, worker):
        return EngineError(f"{model} failed", model=model, worker=worker)


ENGINE = Tiny()
"""
LINE = """
from modelhost.config.engines import ENGINE_PACKAGES
ENGINE_PACKAGES["tiny"] = "tiny_engine"
"""
LIST = "from modelhost.cli.main import main\nmain(['engines', 'list'])"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder on the path of which the new engine is."""
    package = tmp_path / "tiny_engine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "traits.py").write_text(TRAITS)
    (package / "engine.py").write_text(ENGINE)
    return tmp_path


@pytest.fixture
def url(package: Path) -> Iterator[str]:
    """Return where a host serves a model of the new engine."""
    settings = {"engine": "tiny", "port": 0, "data_dir": str(package / "data"), "engine_options": {"text": "It works."}}
    started = subprocess.Popen(
        [sys.executable, "-c", LINE + RUNNER, json.dumps(settings)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(package)},
        text=True,
    )
    assert started.stdout is not None
    with started, started.stdout:
        yield started.stdout.readline().strip()
        started.terminate()


def test_it_serves_a_chat(url: str) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello!"}]}
    answer = httpx2.post(f"{url}/v1/chat/completions", json=body, trust_env=False, timeout=120).json()
    assert answer["choices"][0]["message"]["content"] == "It works."
    (model,) = httpx2.get(f"{url}/v1/models/status", trust_env=False).json()["models"]
    assert model["engine"] == "tiny"


def test_it_is_listed(package: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-c", LINE + LIST],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(package)},
        text=True,
        check=True,
    )
    assert "tiny" in listed.stdout
