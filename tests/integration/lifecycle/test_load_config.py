"""Models that are loaded with a configuration: by real llama.cpp, over HTTP and with the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]
NANO = "modelhost-nano"
COMMAND_SECONDS = 120.0


def load(host: ServedHost, *, expect: int = 200, **config: Any) -> dict[str, Any]:
    answer = host.http.post("/v1/models/load", json={"model_id": NANO, "wait": True, **config})
    assert answer.status_code == expect, answer.text
    found: dict[str, Any] = answer.json()
    return found


def config_of(host: ServedHost) -> dict[str, Any]:
    found: dict[str, Any] = host.http.get(f"/v1/models/{NANO}/info").json()["config"]
    return found


def ask(host: ServedHost, text: str = "Hello", **more: Any) -> Any:
    body = {"model": NANO, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}
    return host.http.post("/v1/chat/completions", json=body)


def command(host: ServedHost, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelhost", "models", *words, "--url", host.url],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


@pytest.fixture
def host(start_host: StartHost) -> ServedHost:
    return start_host(slots=2)


@pytest.mark.promise("vllm-crush.load-model.config")
def test_llamacpp_has_the_context_that_a_load_asks_for_and_its_own_after_the_next(host: ServedHost) -> None:
    own = config_of(host)["context_window"]
    load(host, max_model_len=256)
    config = config_of(host)
    assert (config["context_window"], config["load_config"], config["is_config_temporary"]) == (
        256, {"max_model_len": 256}, True,
    )  # fmt: skip
    assert ask(host).status_code == 200
    refused = ask(host, "word " * 300).json()["error"]
    assert (refused["code"], refused["details"]["context_length"]) == ("context_length_exceeded", 256)
    load(host)
    assert (config_of(host)["context_window"], config_of(host)["load_config"]) == (own, {})


def test_a_load_that_persists_stays_for_the_loads_after_it(host: ServedHost) -> None:
    load(host, max_model_len=256, persist=True)
    host.http.post("/v1/models/unload", json={"model_id": NANO})
    load(host)
    config = config_of(host)
    assert (config["context_window"], config["is_config_temporary"]) == (256, False)


@pytest.mark.promise("vllm-crush.load-model.config")
def test_what_cannot_be_leaves_the_worker_alone_and_says_what_it_would_take(host: ServedHost) -> None:
    too_long = load(host, expect=400, max_model_len=1_000_000)["error"]
    assert (too_long["param"], too_long["code"]) == ("max_model_len", "invalid_request")
    assert load(host, max_model_len=too_long["details"]["maximum"])["state"] == "ready"
    workers = host.worker_pids()
    refused = load(host, expect=400, tensor_parallel_size=2, dtype="bfloat16", quantization="awq")["error"]
    assert refused["code"] == "unsupported_parameter"
    assert refused["details"]["fields"].keys() == {"tensor_parallel_size", "dtype", "quantization"}
    assert "needs 2 GPUs" in refused["message"]
    assert host.worker_pids() == workers


@pytest.mark.promise("vllm-crush.load-model.config")
def test_all_that_is_so_anyway_reloads_nothing(host: ServedHost) -> None:
    workers = host.worker_pids()
    load(
        host,
        max_model_len=config_of(host)["context_window"],
        dtype="auto",
        quantization="none",
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        gpu_memory_utilization=0.8,
        enforce_eager=False,
        enable_prefix_caching=True,
    )
    assert host.worker_pids() == workers


def test_llamacpp_keeps_no_beginnings_of_prompts_if_it_is_told_so(host: ServedHost) -> None:
    def cached() -> int:
        usage = [ask(host, "What is the capital of France?").json()["usage"] for _ in range(2)][-1]
        found: int = usage["prompt_tokens_details"]["cached_tokens"]
        return found

    assert cached() > 0
    load(host, enable_prefix_caching=False)
    assert cached() == 0


def test_a_stream_ends_before_the_reload_and_a_request_meanwhile_is_answered_by_it(start_host: StartHost) -> None:
    host = start_host(
        engine="scripted", alias=[NANO], engine_options={"tokens": 60, "tokens_per_second": 40.0}, context_length=4096
    )
    with ThreadPoolExecutor(2) as pool:
        body = {"model": NANO, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
        with host.http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            reload = pool.submit(load, host, max_model_len=512)
            eventually(lambda: host.http.get("/v1/models/status").json()["models"][0]["state"] == "queued")
            meanwhile = pool.submit(ask, host)
            assert "[DONE]" in "".join(lines)
        assert reload.result()["state"] in {"ready", "busy"}
        assert meanwhile.result().status_code == 200
    assert config_of(host)["context_window"] == 512


def test_the_command_loads_with_a_configuration_and_the_status_shows_it(host: ServedHost) -> None:
    done = command(host, "load", NANO, "--max-model-len", "512", "--no-enable-prefix-caching", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "ready"
    assert "max_model_len=512, enable_prefix_caching=false (temporary)" in command(host, "status").stdout
    refused = command(host, "load", NANO, "--max-model-len", "1000000")
    assert refused.returncode == 1
    assert "tokens at most" in refused.stderr
