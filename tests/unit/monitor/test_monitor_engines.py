"""What engines report of themselves, and what becomes of it in a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from modelhost.engines.llamacpp.engine import METRICS as LLAMACPP
from modelhost.engines.vllm.engine import METRICS as VLLM
from modelhost.errors import EngineError
from modelhost.http.metrics.exposition import engine_lines
from modelhost.monitor.engine_meters import EngineMeters
from modelhost.monitor.engine_reports import EngineReport
from modelhost.operations.metric_groups import groups_of
from tests.support.metric_history import memory_monitor
from tests.unit.monitor.conftest import Clock

OF_LLAMACPP = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed, excluding cached tokens
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
# HELP llamacpp:n_decode_total Total number of llama_decode() calls
# TYPE llamacpp:n_decode_total counter
llamacpp:n_decode_total 20
# HELP llamacpp:n_tokens_max Largest observed sequence length (prompt + generation)
# TYPE llamacpp:n_tokens_max counter
llamacpp:n_tokens_max 24
# HELP llamacpp:n_busy_slots_per_decode Average number of busy slots per llama_decode() call
# TYPE llamacpp:n_busy_slots_per_decode gauge
llamacpp:n_busy_slots_per_decode 2.5
"""
SLOTS = [
    {"id": 0, "n_ctx": 2048, "is_processing": False},
    {"id": 1, "n_ctx": 2048, "is_processing": True, "n_prompt_tokens": 1024},
]
OF_VLLM = """\
# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 9840.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="qwen"} 3.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="qwen"} 0.25
# HELP vllm:spec_decode_num_draft_tokens_total Number of draft tokens.
# TYPE vllm:spec_decode_num_draft_tokens_total counter
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="qwen"} 200.0
# HELP vllm:spec_decode_num_accepted_tokens_total Number of accepted tokens.
# TYPE vllm:spec_decode_num_accepted_tokens_total counter
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="qwen"} 150.0
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="qwen"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="qwen"} 2.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="qwen"} 2.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="qwen"} 0.5
"""


class ReportingWorker:
    """Reports what a test gives it."""

    def __init__(self, *reports: EngineReport | Exception | None) -> None:
        self.reports: Sequence[EngineReport | Exception | None] = reports
        self.open_requests = 1
        self.last_output_at = 0.0
        self.asked = 0

    async def report(self) -> EngineReport | None:
        self.asked += 1
        found = self.reports[min(self.asked, len(self.reports)) - 1]
        if isinstance(found, Exception):
            raise found
        return found


class World:
    """Workers by name, and a monitor that is given what they report."""

    def __init__(self, **workers: ReportingWorker) -> None:
        self.workers = workers
        self.monitor = memory_monitor(Clock())
        self.meters = EngineMeters(self.monitor, lambda: list(self.workers.items()))

    async def groups(self, *names: str, model: str = "qwen", is_whole: bool = False) -> Any:
        window = await self.monitor.window(60)
        cell = window.total if is_whole else window.frame[model]
        return groups_of(cell, 60, frozenset(names), is_whole=is_whole)


def test_llamacpp_reports_its_steps_and_its_slots_what_is_in_them() -> None:
    report = LLAMACPP.read(OF_LLAMACPP, SLOTS)
    assert (report.steps, report.kv_usage) == ((20, 50), 0.25)
    assert (report.running, report.drafts, report.gpu_cached_bytes) == (None, None, None)
    assert LLAMACPP.read(OF_LLAMACPP + "llamacpp:kv_cache_usage_ratio 0.5\n").kv_usage == 0.5


def test_vllm_reports_requests_cache_and_drafts() -> None:
    report = VLLM.read(OF_VLLM)
    assert (report.running, report.kv_usage, report.drafts, report.steps) == (3, 0.25, (200, 150), None)


@pytest.mark.parametrize("slots", ["none", [{"id": 0}], [], [{"n_ctx": 0}], [1]])
def test_slots_that_say_nothing_are_unknown(slots: object) -> None:
    assert LLAMACPP.read(OF_LLAMACPP, slots).kv_usage is None


@pytest.mark.parametrize("text", ["", "<html>", "llamacpp:x", "llamacpp:x many", "# TYPE llamacpp:y gauge"])
def test_what_is_no_metric_is_passed_over(text: str) -> None:
    assert LLAMACPP.read(text) == EngineReport()


def test_metrics_are_passed_on_under_their_names_with_the_model() -> None:
    reports = {'a"b': VLLM.read(OF_VLLM), "qwen": VLLM.read(OF_VLLM), "nano": LLAMACPP.read(OF_LLAMACPP)}
    text = "".join(engine_lines(reports, {"vllm:num_requests_running"}))
    lines = text.splitlines()
    assert lines[:2] == [
        "# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.",
        "# TYPE vllm:kv_cache_usage_perc gauge",
    ]
    assert lines[2] == r'vllm:kv_cache_usage_perc{model="a\"b",engine="0",model_name="qwen"} 0.25'
    assert 'vllm:time_to_first_token_seconds_bucket{model="qwen",engine="0",le="+Inf",model_name="qwen"} 2.0' in lines
    assert 'llamacpp:n_tokens_max{model="nano"} 24' in lines
    assert "python_gc" not in text
    assert "num_requests_running" not in text
    assert len([line for line in lines if line.startswith("# TYPE")]) == 4 + 4


async def test_batch_and_cache_of_a_window_are_those_that_the_engine_reports() -> None:
    first = LLAMACPP.read(OF_LLAMACPP, SLOTS)
    second = EngineReport(steps=(30, 90), kv_usage=0.75)
    world = World(qwen=ReportingWorker(first, second))
    await world.meters.read()
    await world.meters.read()
    for is_whole in (False, True):
        found = await world.groups("throughput", "cache", is_whole=is_whole)
        assert (found["throughput"].avg_batch_size, found["throughput"].batch_source) == (3, "engine")
        assert found["cache"].kv_cache_usage == 0.5


async def test_requests_at_work_are_the_batch_of_an_engine_without_steps() -> None:
    world = World(qwen=ReportingWorker(VLLM.read(OF_VLLM), EngineReport(running=1, drafts=(300, 240))))
    await world.meters.read()
    await world.meters.read()
    found = await world.groups("throughput", "speculation")
    assert found["throughput"].avg_batch_size == 2
    assert (found["speculation"].drafted_tokens, found["speculation"].acceptance_rate) == (300, 0.8)


async def test_a_new_worker_of_a_model_counts_from_its_own_beginning() -> None:
    world = World(qwen=ReportingWorker(EngineReport(steps=(100, 100))))
    await world.meters.read()
    world.workers = {"qwen": ReportingWorker(EngineReport(steps=(10, 20)))}
    await world.meters.read()
    assert (await world.groups("throughput"))["throughput"].avg_batch_size == pytest.approx(120 / 110, abs=1e-6)


async def test_without_a_report_the_turns_at_work_are_the_batch() -> None:
    world = World(qwen=ReportingWorker(None))
    await world.meters.read()
    world.monitor.turn_began("qwen", 0.0)
    world.monitor.turn_ended("qwen", 5.0)
    found = await world.groups("throughput", "cache")
    assert (found["throughput"].avg_batch_size, found["throughput"].batch_source) == (1, "in_flight")
    assert found["cache"].kv_cache_usage is None


async def test_idle_workers_are_not_read_again_and_unloaded_ones_are_forgotten() -> None:
    worker = ReportingWorker(EngineReport(kv_usage=0.5))
    worker.open_requests = 0
    world = World(qwen=worker)
    for _ in range(3):
        await world.meters.read()
    assert worker.asked == 1
    worker.last_output_at = 1.0
    await world.meters.read()
    assert worker.asked == 2
    assert world.monitor.engine_reports.keys() == {"qwen"}
    world.workers = {}
    await world.meters.read()
    assert world.monitor.engine_reports == {}


async def test_a_worker_that_cannot_be_read_is_read_again() -> None:
    world = World(
        qwen=ReportingWorker(EngineError("It hangs.", model="qwen", worker="qwen"), EngineReport(kv_usage=0.5))
    )
    await world.meters.read()
    assert world.monitor.engine_reports == {}
    await world.meters.read()
    assert world.monitor.engine_reports["qwen"].kv_usage == 0.5
