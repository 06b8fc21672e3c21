"""What the monitor's operations say, and what they refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelhost.config.value_types import parse_levels
from modelhost.errors import DatabaseUnavailable, InvalidRequest, ModelNotFound
from modelhost.monitor.alerts.states import Alert, AlertState
from modelhost.monitor.efficiency import Efficiency
from modelhost.monitor.engine_reports import EngineReport
from modelhost.monitor.history import StoredFrame, levels_of
from modelhost.monitor.monitor import Monitor
from modelhost.operations import machine_stats, monitor
from modelhost.operations.machine_stats import GET_GPU_STATS, GET_MEMORY_STATS
from modelhost.operations.monitor import GET_ALERTS, GET_METRICS, AlertParameters, seconds_in
from modelhost.workers.gpu_stats import GpuProcess, GpuStats
from tests.support.metric_history import LEVELS, MemoryHistory, memory_monitor
from tests.unit.monitor.conftest import BEGINNING, Clock, record
from tests.unit.operations.fake_host import FakeHost

MB = 1_000_000
ACTIVE = Alert(
    rule="full",
    host="this",
    subject="ram",
    metric="memory_used_share",
    severity="info",
    condition="last(memory_used_share, 60 s) > 0.95",
    summary="",
    state=AlertState.PENDING,
    value=0.97,
    started_at=BEGINNING,
)
A100 = GpuStats(
    index=0,
    name="NVIDIA A100-SXM4-40GB",
    total_bytes=40_960 * MB,
    used_bytes=32_768 * MB,
    utilization=0.75,
    temperature_c=65,
    warning_c=80,
    max_c=83,
    power_w=280.0,
    power_limit_w=400.0,
    energy_j=1_000_000.0,
    processes=(GpuProcess(pid=7, used_bytes=None),),
)
PLAIN = GpuStats(index=1, name="a card", total_bytes=8000 * MB, used_bytes=2000 * MB)


@pytest.fixture
def host() -> FakeHost:
    """A host that was busy a minute before ``BEGINNING + 60``."""
    clock, host = Clock(), FakeHost()
    host.monitor = memory_monitor(clock)
    for number in range(20):
        record(host.monitor, "first", seconds=0.1 * (number + 1), tokens=30)
    record(host.monitor, "first", code="queue_full")
    record(host.monitor, "", code="model_not_found")
    clock.now += 30
    return host


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (machine_stats, monitor):
        monkeypatch.setattr(module, "gpu_stats", lambda **_: (A100, PLAIN))


async def metrics(host: FakeHost, **parameters: Any) -> Any:
    return (await GET_METRICS.run(host, GET_METRICS.parse(parameters))).model_dump(mode="json")


@pytest.mark.promise(
    "vllm-crush.get-metrics",
    "vllm-crush.get-metrics.throughput",
    "vllm-crush.get-metrics.latency",
    "vllm-crush.get-metrics.requests",
)
async def test_a_window_is_summed_up_for_the_host_and_for_each_model(host: FakeHost) -> None:
    found = await metrics(host, duration_seconds=60)
    assert found["metrics"]["throughput"]["tokens_per_second"] == 20 * 30 / 60
    assert found["metrics"]["requests"] == {
        "total": 22,
        "successful": 20,
        "failed": 2,
        "cancelled": 0,
        "error_rate": pytest.approx(2 / 22, abs=1e-6),
    }
    assert found["metrics"]["errors"] == {"queue_full": 1, "model_not_found": 1}
    assert list(found["models"]) == ["first"]
    assert found["models"]["first"]["requests"]["total"] == 21
    assert found["metrics"]["latency"]["p50_ms"] == pytest.approx(1000, rel=0.01)
    assert found["metrics"]["latency"]["avg_ms"] == 1050
    assert found["history"] is None


async def test_only_the_requested_groups_and_the_requests_are_there(host: FakeHost) -> None:
    found = await metrics(host, metrics=["latency"])
    given = {name for name, value in found["metrics"].items() if value is not None}
    assert given == {"latency", "requests"}


async def test_history_says_when_it_happened(host: FakeHost) -> None:
    found = await metrics(host, duration_seconds=60, include_history=True)
    (point,) = found["history"]
    assert point["timestamp"] == "2026-01-01T00:00:00Z"
    assert BEGINNING == 1_767_225_600
    assert point["metrics"]["requests"]["total"] == 22


async def test_what_is_live_is_shown_with_the_reason_why_history_is_not(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable("The disk is full.")

    monkeypatch.setattr(MemoryHistory, "read", broken)
    found = await metrics(host, include_history=True)
    assert found["metrics"]["requests"]["total"] == 22
    assert len(found["history"]) == 1
    assert found["history_error"] == "The disk is full."
    monkeypatch.undo()
    assert (await metrics(host))["history_error"] is None


@pytest.mark.promise("vllm-crush.caching.metrics")
async def test_the_same_parameters_get_the_same_answer_for_the_time_of_the_setting(host: FakeHost) -> None:
    host.monitor = memory_monitor(cache_seconds=3600)
    before = await metrics(host, metrics=["latency"])
    record(host.monitor, "first", seconds=0.1)
    assert await metrics(host, metrics=["latency"]) == before
    assert (await metrics(host, metrics=["queue"]))["metrics"]["requests"]["total"] == 1


@pytest.mark.parametrize(
    ("parameters", "listed"),
    [
        ({"metrics": ["speed"]}, "'throughput'"),
        ({"metrics": "latency,speed"}, "'throughput'"),
        ({"duration_seconds": 91 * 86_400}, "7776000"),
    ],
)
async def test_what_there_is_not_is_refused_with_what_there_is(
    host: FakeHost, parameters: dict[str, Any], listed: str
) -> None:
    with pytest.raises(InvalidRequest, match=listed):
        await metrics(host, **parameters)


async def test_an_unknown_model_is_not_found(host: FakeHost) -> None:
    with pytest.raises(ModelNotFound):
        await metrics(host, model="invented")


async def test_stored_intervals_that_cannot_be_read_are_said(host: FakeHost) -> None:
    history = MemoryHistory()
    clock = Clock()
    host.monitor = Monitor(history, levels_of(parse_levels(LEVELS)), source="host", clock=clock)
    record(host.monitor, "first")
    frame = StoredFrame(step=1, start=int(BEGINNING) - 5, source="host", writer="", content=b"garbage")
    history.put([frame])
    found = await metrics(host)
    assert found["metrics"]["requests"]["total"] == 1
    assert found["history_error"].startswith("1 stored interval cannot be read")


async def test_a_model_that_only_history_has_can_be_selected(host: FakeHost) -> None:
    record(host.monitor, "removed", tokens=7)
    found = await metrics(host, model="removed")
    assert (list(found["models"]), found["metrics"]["requests"]["total"]) == (["removed"], 1)


async def test_rates_are_those_of_the_time_that_was_read() -> None:
    clock, host = Clock(), FakeHost()
    host.monitor = memory_monitor(clock)
    for _ in range(40):
        record(host.monitor, "first", tokens=10)
        clock.now += 0.05
    clock.now -= 0.025
    found = (await metrics(host, duration_seconds=1))["metrics"]
    assert found["throughput"]["requests_per_second"] == pytest.approx(20, rel=0.03)
    assert found["throughput"]["tokens_per_second"] == pytest.approx(200, rel=0.03)


async def test_active_alerts_are_listed_when_their_history_cannot_be_read(host: FakeHost) -> None:
    async def broken(**_: Any) -> Any:
        raise DatabaseUnavailable("The disk is full.")

    alerts: Any = SimpleNamespace(active=(ACTIVE,), history=broken)
    found = await GET_ALERTS.run(SimpleNamespace(alerts=alerts), AlertParameters())
    assert ([alert.rule for alert in found.active], found.history) == (["full"], [])
    assert found.history_error == "The disk is full."


@pytest.mark.promise("vllm-crush.get-gpu-stats.fields")
@pytest.mark.usefixtures("two_gpus")
async def test_gpus_are_described_as_far_as_they_are_known(host: FakeHost) -> None:
    found = (await GET_GPU_STATS.run(host, GET_GPU_STATS.parse({}))).model_dump(mode="json")["gpus"]
    assert found[0]["memory"] == {"used_mb": 32_768, "total_mb": 40_960, "utilization": 0.8}
    assert found[0]["temperature"] == {"current_c": 65, "max_c": 83, "warning_c": 80}
    assert found[0]["power"] == {"current_w": 280.0, "max_w": 400.0, "efficiency": None}
    assert found[1]["power"] == {"current_w": None, "max_w": None, "efficiency": None}
    assert found[1]["compute"] == {"utilization": None, "sm_utilization": None, "tensor_utilization": None}
    assert found[1]["processes"] is None


@pytest.mark.usefixtures("two_gpus")
async def test_efficiency_is_that_of_the_last_minute_for_gpus_that_report_their_energy(host: FakeHost) -> None:
    joules = iter((0.0, 100.0, 300.0))

    async def energy() -> float:
        return next(joules)

    host.efficiency = Efficiency(lambda: host.monitor.generated_tokens, energy)
    for _ in range(3):
        await host.efficiency.measure()
        record(host.monitor, "first", tokens=100)
    found = (await GET_GPU_STATS.run(host, GET_GPU_STATS.parse({}))).gpus
    assert [gpu.power and gpu.power.efficiency for gpu in found] == [0.5, None]


@pytest.mark.usefixtures("two_gpus")
async def test_what_engines_keep_and_how_fragmented_it_is_are_summed_up(host: FakeHost) -> None:
    reports = host.monitor.engine_reports

    async def memory() -> Any:
        return (await GET_MEMORY_STATS.run(host, GET_MEMORY_STATS.parse({}))).gpu_memory

    reports["first"] = EngineReport(kv_usage=0.5)
    found = await memory()
    assert (found.cached_mb, found.fragmentation_ratio) == (None, None)
    reports["second"] = EngineReport(gpu_cached_bytes=600 * MB, gpu_largest_free_bytes=300 * MB)
    reports["third"] = EngineReport(gpu_cached_bytes=400 * MB, gpu_largest_free_bytes=400 * MB)
    found = await memory()
    assert (found.cached_mb, found.fragmentation_ratio) == (1000, 0.3)
    reports["second"] = EngineReport(gpu_cached_bytes=0, gpu_largest_free_bytes=0)
    del reports["third"]
    assert (await memory()).fragmentation_ratio == 0


@pytest.mark.promise("vllm-crush.get-gpu-stats")
@pytest.mark.usefixtures("two_gpus")
async def test_gpus_can_be_selected_and_parts_left_out(host: FakeHost) -> None:
    parameters = GET_GPU_STATS.parse({"gpu_ids": "1", "include_temperature": False, "include_power": False})
    (gpu,) = (await GET_GPU_STATS.run(host, parameters)).gpus
    assert (gpu.id, gpu.temperature, gpu.power) == (1, None, None)


@pytest.mark.usefixtures("two_gpus")
async def test_an_unknown_gpu_is_refused_with_those_that_there_are(host: FakeHost) -> None:
    with pytest.raises(InvalidRequest, match=r"no GPU 2; there are: 0, 1\."):
        await GET_GPU_STATS.run(host, GET_GPU_STATS.parse({"gpu_ids": [0, 2]}))


@pytest.mark.promise("vllm-crush.get-metrics.memory")
@pytest.mark.usefixtures("two_gpus")
async def test_memory_now_is_a_part_of_the_metrics(host: FakeHost) -> None:
    memory = (await metrics(host, metrics=["memory", "gpu"]))["metrics"]
    assert memory["memory"]["gpu_total_mb"] == 48_960
    assert memory["memory"]["gpu_utilization"] == pytest.approx(34_768 / 48_960, abs=1e-4)
    assert memory["gpu"] == {"count": 2, "utilization": 0.75, "power_w": 280.0}


def test_the_examples_are_valid() -> None:
    for operation in (GET_METRICS, GET_GPU_STATS, GET_MEMORY_STATS):
        operation.parse(operation.example)
        operation.result.model_validate(operation.example_answer)


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("90s", 90), ("15m", 900), ("6h", 21_600), ("7d", 604_800)]
)
def test_durations_have_units(text: str, seconds: int) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-5", "1y"])
def test_other_durations_are_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidRequest, match="300, 15m"):
        seconds_in(text)
