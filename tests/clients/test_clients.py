"""Outside clients against a host with the bundled model; run by ``make test-clients``.

Each client has an environment of its own, made from ``locks/clients/NAME.txt``, and a script in ``scripts`` that uses
it as its users do. The scripts import nothing of the project.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.media_files import write_vision_encoder
from tests.support.serving import ServedHost

ROOT = Path(__file__).parents[2]
NAMES = sorted(lock.stem for lock in (ROOT / "locks" / "clients").glob("*.txt"))
SCRIPTS = Path(__file__).parent / "scripts"
FOLDER = os.environ.get("MODELHOST_TEST_CLIENTS")
MODEL = "modelhost-nano"
MODEL_WIDTH = 192
SENDS_IMAGES = frozenset({"llm-comply"})
"""Clients that send images, too: their model has a vision encoder of random weights."""
SECONDS = 300

pytestmark = pytest.mark.skipif(FOLDER is None, reason="needs the environments of `make test-clients`")


def script_of(name: str) -> Path:
    """Return what tries the client ``name``; several versions of a client have one script."""
    return SCRIPTS / f"{re.sub(r'-[0-9]+$', '', name).replace('-', '_')}.py"


def environment(home: Path) -> dict[str, str]:
    """Return ours without settings of clients and proxies; what a client keeps on disk comes to lie in ``home``."""
    foreign = re.compile(
        r"(ANTHROPIC|LANGCHAIN|LANGSMITH|LITELLM|MODELHOST|OLLAMA|OPENAI|PYTHON)|.*_proxy$", re.IGNORECASE
    )
    kept = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    # LiteLLM would download its table of prices otherwise.
    return {**kept, "HOME": str(home), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@pytest.fixture(scope="module")
def seeing_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with the bundled model, which accepts images."""
    encoder = write_vision_encoder(tmp_path_factory.mktemp("eyes") / "mmproj-nano.gguf", model_width=MODEL_WIDTH)
    with ServedHost(mmproj=str(encoder)) as host:
        yield host


@pytest.mark.parametrize("name", NAMES)
def test_a_client_gets_what_it_needs(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    host: ServedHost = request.getfixturevalue("seeing_host" if name in SENDS_IMAGES else "nano_host")
    python = Path(FOLDER or "") / name / "bin" / "python"
    assert python.exists(), f"there is no {python}: run `make test-clients`"
    done = subprocess.run(
        # -P: some scripts are called like the library that they import.
        [python, "-P", script_of(name), f"{host.url}/v1", MODEL],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{script_of(name).name} with {name}:\n{done.stdout}\n{done.stderr}"


def test_every_script_tries_a_client_that_is_locked() -> None:
    assert {script_of(name) for name in NAMES} == set(SCRIPTS.glob("*.py"))
