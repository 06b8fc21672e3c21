"""What a worker process imports before it loads its model: each millisecond of it is one of every load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from modelhost.engines import ENGINES
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.engines.scripted.engine import Scripted

LOADED = "import sys; before = set(sys.modules); import {}; print(*(sys.modules.keys() - before))"
OF_THE_HOST = {"pydantic", "orjson", "structlog", "modelhost.config", "modelhost.workers", "modelhost.models"}


def _loaded_by(module: str) -> set[str]:
    code = LOADED.format(module)
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(asked.stdout.split())


def test_the_llamacpp_worker_imports_nothing_of_modelhost_but_its_configuration_and_the_protocol() -> None:
    loaded = _loaded_by("modelhost.engines.llamacpp.worker")
    assert {name for name in loaded if name.startswith("modelhost.")} == {
        "modelhost.engines",
        "modelhost.engines.llamacpp",
        "modelhost.engines.llamacpp.features",
        "modelhost.engines.llamacpp.config",
        "modelhost.engines.llamacpp.worker",
        "modelhost.engines.worker",
        "modelhost.engines.worker.process",
        "modelhost.supported",
        "modelhost.version",
    }
    assert not loaded & {*OF_THE_HOST, "asyncio", "dataclasses", "importlib.metadata", "inspect", "xllamacpp"}


def test_the_scripted_worker_imports_nothing_of_the_host_and_no_reader_of_scripts() -> None:
    assert not _loaded_by("modelhost.engines.scripted.worker") & {*OF_THE_HOST - {"orjson"}, "yaml"}


def test_workers_in_environments_of_their_own_import_no_library_that_is_the_hosts_alone() -> None:
    of_the_host = {"msgspec", "pydantic", "structlog", "prometheus_client", "httpx2"}
    in_environments = ("diffusers.worker", "mistralrs.worker", "mistralrs.answers", "vllm.worker")
    for module in (*in_environments, "worker.server", "worker.asgi"):
        assert not _loaded_by(f"modelhost.engines.{module}") & of_the_host, module


def test_the_package_of_the_engines_imports_none_of_them() -> None:
    loaded = _loaded_by("modelhost.engines")
    assert not {name for name in loaded if name.startswith("modelhost.engines.")}


def test_the_engines_are_found_by_their_names() -> None:
    assert list(ENGINES) == [
        "llamacpp",
        "mlx",
        "transformers",
        "vllm",
        "mistralrs",
        "speech",
        "whisper",
        "diffusers",
        "remote",
        "scripted",
    ]
    assert len(ENGINES) == 10
    assert isinstance(ENGINES["llamacpp"], LlamaCpp)
    assert isinstance(ENGINES["scripted"], Scripted)
    assert ENGINES["llamacpp"] is ENGINES["llamacpp"]
    assert "unheard-of" not in ENGINES
    with pytest.raises(KeyError):
        ENGINES["unheard-of"]


@pytest.mark.parametrize("engine", ["mlx", "transformers", "mistralrs"])
def test_a_library_is_loaded_only_after_the_worker_listens_to_its_host(engine: str) -> None:
    loaded = _loaded_by(f"modelhost.engines.{engine}.worker")
    assert not loaded & {*OF_THE_HOST, "numpy", "mlx", "mlx_lm", "torch", "transformers", "uvicorn"}
