"""The monitor of a host under load: its counts are those of the requests sent, its percentiles those of the log."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.nearest_rank import nearest_rank
from tests.support.raw_http import send_chat
from tests.support.serving import ServedHost

METRICS = "/v1/monitor/metrics"
REQUESTS = 120
WAIT_SECONDS = 10.0


def chat(host: ServedHost, number: int) -> Any:
    """Send a request: most are answered, some streamed, some are refused."""
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": f"/slow {number % 7}" if number % 3 else "hello"}],
        "max_tokens": 8,
        "stream": number % 5 == 0,
    }
    if number % 10 == 1:
        body["temperature"] = -1
    if number % 10 == 2:
        body["model"] = "invented"
    return host.http.post("/v1/chat/completions", json=body)


def metrics_of(host: ServedHost, *, requests: int, **query: Any) -> Any:
    """Return the metrics once ``requests`` are counted, a moment after their last byte."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        found = host.http.get(METRICS, params={"duration_seconds": 600, **query}).json()
        if found["metrics"]["requests"]["total"] == requests or time.monotonic() > end:
            return found


def test_counts_and_percentiles_are_those_of_the_requests(tmp_path: Path) -> None:
    with ServedHost(engine="scripted", model="scripted", data_dir=str(tmp_path), slots=4) as host:
        with ThreadPoolExecutor(8) as senders:
            answers = list(senders.map(lambda number: chat(host, number), range(REQUESTS)))
        statuses = Counter(answer.status_code for answer in answers)
        found = metrics_of(host, requests=REQUESTS)
        requests = found["metrics"]["requests"]
        assert requests["total"] == REQUESTS
        assert (requests["successful"], requests["failed"]) == (statuses[200], REQUESTS - statuses[200])
        assert found["metrics"]["errors"] == {"invalid_request": statuses[400], "model_not_found": statuses[404]}
        assert found["models"]["scripted"]["requests"]["total"] == REQUESTS - statuses[404]
        usages = [answer.json()["usage"] for answer in answers if "usage" in answer.text and answer.text[0] == "{"]
        assert found["metrics"]["cache"]["input_tokens"] >= sum(usage["prompt_tokens"] for usage in usages)
        logged = sorted(line["seconds"] * 1000 for line in host.log_events("request") if line["status"] == 200)
        latency = found["metrics"]["latency"]
        assert latency["count"] == len(logged) == statuses[200]
        for name, share in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
            exact = nearest_rank(logged, share)
            assert abs(latency[name] - exact) <= 0.01 * exact + 0.05  # the log is rounded to a tenth of a millisecond


def test_requests_over_mcp_are_counted_also_those_that_are_refused(tmp_path: Path) -> None:
    with ServedHost(engine="scripted", alias=["scripted"], data_dir=str(tmp_path)) as host:
        hello = [{"role": "user", "content": "/echo hello"}]
        calls: tuple[dict[str, Any], ...] = (
            {"messages": hello},
            {"messages": hello, "model": "invented"},
            {"messages": hello, "temperature": 101},
            {"messages": "not a list"},
            {"messages": [{"role": "user", "content": "/error 500"}]},
        )
        for number, arguments in enumerate(calls):
            call = {"name": "chat_completion", "arguments": arguments}
            body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call}
            answer = host.http.post("/mcp", json=body, headers={"Accept": "application/json, text/event-stream"})
            assert answer.status_code == 200
        found = metrics_of(host, requests=len(calls))
        assert found["metrics"]["requests"]["successful"] == 1
        assert found["metrics"]["errors"] == {"model_not_found": 1, "invalid_request": 2, "engine_error": 1}


def test_tokens_of_an_answer_are_counted_while_it_is_generated(tmp_path: Path) -> None:
    with (
        ServedHost(engine="scripted", alias=["scripted"], data_dir=str(tmp_path)) as host,
        closing(send_chat(host.url, "/hang 40 /tokens 100", stream=True)),
    ):
        eventually(lambda: host.http.get(METRICS).json()["metrics"]["throughput"]["tokens_per_second"] > 0.6)
        assert host.http.get(METRICS).json()["metrics"]["requests"]["total"] == 0


def test_history_survives_a_restart(tmp_path: Path) -> None:
    settings = {"engine": "scripted", "model": "scripted", "data_dir": str(tmp_path)}
    with ServedHost(**settings) as host:
        for number in (0, 3, 6):
            chat(host, number)
        assert metrics_of(host, requests=3)["metrics"]["loads"]["count"] == 1
    with ServedHost(**settings) as host:
        again = metrics_of(host, requests=3, include_history=True)
        assert again["metrics"]["loads"]["count"] == 2
        assert sum(point["metrics"]["requests"]["total"] for point in again["history"]) == 3


@pytest.mark.promise("vllm-crush.get-memory-stats")
def test_the_memory_of_a_model_is_split_up(nano_host: ServedHost) -> None:
    found = nano_host.http.get("/v1/monitor/memory").json()
    (model,) = found["model_memory"]
    assert min(model["weights_mb"], model["kv_cache_mb"] + 1, model["process_mb"]) > 0
    assert 0 <= model["swap_mb"] <= model["process_mb"]
    assert found["system_memory"]["process_mb"] > found["system_memory"]["host_mb"] > 0


def test_the_engine_of_a_model_reports_its_own_metrics(nano_host: ServedHost) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
    assert nano_host.http.post("/v1/chat/completions", json=body).status_code == 200
    eventually(lambda: 'llamacpp:n_decode_total{model="modelhost-nano"}' in nano_host.http.get("/metrics").text)

    def is_engines() -> bool:
        found = nano_host.http.get(METRICS, params={"duration_seconds": 3600}).json()["models"]["modelhost-nano"]
        usage = found["cache"]["kv_cache_usage"]
        return found["throughput"]["batch_source"] == "engine" and usage is not None and 0 < usage <= 1

    eventually(is_engines)


def test_without_gpus_there_are_none_and_no_numbers(scripted_host: ServedHost) -> None:
    assert scripted_host.http.get("/v1/monitor/gpus").json() == {"gpus": []}
    assert set(scripted_host.http.get("/v1/monitor/memory").json()["gpu_memory"].values()) == {None}
    memory = scripted_host.http.get(METRICS).json()["metrics"]["memory"]
    assert (memory["gpu_used_mb"], memory["gpu_total_mb"], memory["gpu_utilization"]) == (None, None, None)


def test_a_list_in_a_query_is_one_text_or_several(scripted_host: ServedHost) -> None:
    groups = [
        scripted_host.http.get(METRICS, params=given).json()["metrics"].keys()
        for given in ({"metrics": "latency,queue"}, {"metrics": ["latency", "queue"]})
    ]
    assert groups[0] == groups[1]
    for given in ({"gpu_ids": "7,-1"}, {"gpu_ids": ["7", "-1"]}):
        refused = scripted_host.http.get("/v1/monitor/gpus", params=given)
        assert refused.status_code == 400
        assert "there is no GPU 7, -1" in refused.json()["error"]["message"]
    twice = scripted_host.http.get(METRICS, params={"duration_seconds": ["60", "90"]})
    assert (twice.status_code, twice.json()["error"]["param"]) == (400, "duration_seconds")
