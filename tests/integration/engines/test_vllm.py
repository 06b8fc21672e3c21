"""What vLLM needs help with beside the others: several processes, a start that fails; run by ``make test-engines``."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from modelhost.engines.environments import python_of
from tests.integration.engines.served import NANO_HF, Asking
from tests.support.adapter_files import write_peft_adapter
from tests.support.eventually import eventually
from tests.support.processes import is_alive
from tests.support.serving import ServedHost, ServeFailed

StartHost = Callable[..., ServedHost]
ANSWER = "I am modelhost-nano, a tiny demonstration model."
SHARED_MEMORY = Path("/dev", "shm")


@pytest.fixture
def settings() -> dict[str, object]:
    """Those of a host with the tiny model in vLLM."""
    python = python_of("vllm", Path(os.environ["MODELHOST_TEST_ENGINES"]))
    return {"engine": "vllm", "model": str(NANO_HF), "worker_python": str(python), "context_length": 512, "slots": 2}


def _shared() -> set[str]:
    return {path.name for path in SHARED_MEMORY.glob("psm_*")}


def test_a_model_that_is_spread_over_processes_leaves_nothing_behind(
    start_host: StartHost, settings: dict[str, object]
) -> None:
    before = _shared()
    host = start_host(**settings, alias=["nano"], engine_options={"tensor_parallel_size": 2})
    assert Asking(host).text() == ANSWER
    (worker,) = host.worker_pids()
    children = psutil.Process(worker).children(recursive=True)
    assert len([child for child in children if "Worker" in child.name()]) == 2
    its = _shared() - before
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not [child for child in children if is_alive(child.pid)])
    eventually(lambda: not _shared() & its)  # the worker that takes its place makes its own


def test_it_is_loaded_anew_with_the_configuration_that_a_load_asks_for(
    start_host: StartHost, settings: dict[str, object]
) -> None:
    host = start_host(**settings, alias=["nano"])
    config = {"max_model_len": 256, "tensor_parallel_size": 2, "enable_prefix_caching": False}
    answer = host.http.post("/v1/models/load", json={"model_id": "nano", "wait": True, **config})
    assert answer.status_code == 200, answer.text
    (card,) = host.http.get("/v1/models").json()["data"]
    assert (card["max_model_len"], card["tensor_parallel_size"], card["load_config"]) == (256, 2, config)
    assert Asking(host).text() == ANSWER
    refused = host.http.post("/v1/models/load", json={"model_id": "nano", "quantization": "awq"}).json()["error"]
    assert "quantized with awq, and these are not quantized" in refused["message"]


async def test_each_request_has_the_adapter_that_it_names_beside_requests_with_others(
    start_host: StartHost, settings: dict[str, object], tmp_path: Path
) -> None:
    adapters = [f"{name}={write_peft_adapter(tmp_path / name, seed)}" for seed, name in ((1, "pirate"), (2, "legal"))]
    host = start_host(**{**settings, "slots": 4}, alias=["nano"], lora=adapters)
    choices: list[dict[str, Any]] = [{"model": "nano"}, {"model": "nano:pirate"}, {"model": "nano", "lora": "legal"}]

    async def said(client: httpx2.AsyncClient, choice: dict[str, Any]) -> tuple[str, str]:
        asked = {"messages": [{"role": "user", "content": "Tell me of Paris."}], "temperature": 0, "max_tokens": 12}
        answer = await client.post("/v1/chat/completions", json={**asked, **choice})
        return answer.json()["model"], answer.json()["choices"][0]["message"]["content"]

    async with httpx2.AsyncClient(base_url=host.url, timeout=120, trust_env=False) as client:
        alone = [await said(client, choice) for choice in choices]
        assert [model for model, _ in alone] == ["nano", "nano:pirate", "nano:legal"]
        assert len({text for _, text in alone}) == len(choices)
        assert await asyncio.gather(*(said(client, choice) for choice in choices * 2)) == alone * 2


def test_why_it_cannot_start_is_told(settings: dict[str, object]) -> None:
    with pytest.raises(ServeFailed, match=r"Unknown quantization method|Input should be"):
        ServedHost(**settings, engine_options={"quantization": "nonesuch"})
