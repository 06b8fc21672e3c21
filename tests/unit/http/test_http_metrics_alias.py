"""Metrics under the names of vLLM."""

from __future__ import annotations

import uuid

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelhost.http.metrics.exposition import ALIASES, GENERATION, KV_CACHE_USAGE, Exposition, kv_cache_lines
from modelhost.meters import METERS, ModelMeters
from modelhost.monitor.engine_reports import EngineReport


@pytest.fixture
def model() -> str:
    """A model whose metrics no other test counts."""
    return f"alias-{uuid.uuid4().hex}"


async def samples(model: str) -> dict[tuple[str, str | None], float]:
    text = b"".join([part async for part in Exposition(ALIASES["vllm"]).render()]).decode()
    return {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("model_name") == model
    }


async def test_the_names_of_vllm_have_the_values_of_the_host(model: str) -> None:
    meters = ModelMeters(model)
    meters.count_usage({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}})
    meters.in_flight.set(2)
    meters.queue_length.set(5)
    meters.time_to_first_token.observe(0.02)
    found = await samples(model)
    expected = {
        "vllm:num_requests_running": 2,
        "vllm:num_requests_waiting": 5,
        "vllm:prompt_tokens_total": 9,
        "vllm:generation_tokens_total": 4,
        "vllm:prefix_cache_queries_total": 9,
        "vllm:prefix_cache_hits_total": 3,
        "vllm:time_to_first_token_seconds_count": 1,
        "vllm:time_to_first_token_seconds_sum": 0.02,
    }
    assert {name: found[name, None] for name in expected} == expected
    assert found["vllm:time_to_first_token_seconds_bucket", "0.01"] == 0
    assert found["vllm:time_to_first_token_seconds_bucket", "0.025"] == 1


async def test_the_latency_is_that_of_all_generation_and_of_nothing_else(model: str) -> None:
    for operation in (*GENERATION, "embeddings", "tokenize"):
        METERS.request_seconds.labels(model, operation).observe(0.2)
    found = await samples(model)
    assert found["vllm:e2e_request_latency_seconds_count", None] == len(GENERATION)
    assert found["vllm:e2e_request_latency_seconds_bucket", "+Inf"] == len(GENERATION)
    assert found["vllm:e2e_request_latency_seconds_bucket", "0.1"] == 0


async def test_a_sum_follows_each_of_its_parts(model: str) -> None:
    exposition = Exposition(ALIASES["vllm"])
    name = f'vllm:e2e_request_latency_seconds_count{{model_name="{model}"}}'
    for count, operation in enumerate(["chat", "completions", "chat", "completions", "infill"], start=1):
        METERS.request_seconds.labels(model, operation).observe(0.2)
        assert f"{name} {count}.0\n" in b"".join([part async for part in exposition.render()]).decode()


async def test_a_model_that_has_done_nothing_has_no_samples(model: str) -> None:
    assert await samples(model) == {}


async def test_requests_of_no_known_model_are_left_out() -> None:
    METERS.request_seconds.labels("", "chat").observe(0.2)
    assert await samples("") == {}


def test_the_use_of_the_kv_cache_has_its_name_where_the_engine_reports_it() -> None:
    lines = list(kv_cache_lines({'a "model"': EngineReport(kv_usage=0.25), "other": EngineReport()}))
    (family,) = text_string_to_metric_families("".join(lines))
    (sample,) = family.samples
    assert (sample.name, sample.labels, sample.value) == (KV_CACHE_USAGE, {"model_name": 'a "model"'}, 0.25)
