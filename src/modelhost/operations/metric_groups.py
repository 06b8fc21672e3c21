"""What `get-metrics` says of a window: the groups of numbers, of the whole host and of each model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal

from pydantic import Field

from modelhost.monitor.cells import Cell
from modelhost.monitor.sketch import Sketch
from modelhost.operations.operation import Result

MetricName = Literal[
    "throughput",
    "latency",
    "memory",
    "gpu",
    "requests",
    "time_to_first_token",
    "time_between_tokens",
    "queue",
    "loads",
    "cache",
    "speculation",
    "errors",
    "tools",
]
NO_VALUES: Final = "`null` without any"
MS_PER_SECOND: Final = 1000
DISTRIBUTIONS: Final = {
    "latency": "latency",
    "time_to_first_token": "first_token",
    "time_between_tokens": "between_tokens",
    "queue": "queue",
}
"""The monitor's name of each group that is a distribution; ``loads`` has one and more."""


class Throughput(Result):
    """Tokens and requests per second, over the whole window."""

    tokens_per_second: float = Field(description="Generated tokens per second.")
    input_tokens_per_second: float = Field(description="Prompt tokens per second, including those from the cache.")
    requests_per_second: float
    avg_batch_size: float | None = Field(
        description="Mean number of requests in a step of the model, or of turns at work at the same time; only while "
        "there were any, `null` if there were none."
    )
    batch_source: Literal["engine", "in_flight"] = Field(
        default="in_flight",
        description="Where `avg_batch_size` comes from: `engine`, as engines report their steps; `in_flight`, the "
        "turns that the host has at work, if none does.",
    )


class Distribution(Result):
    """A distribution of times, in milliseconds; percentiles are within 1 %."""

    p50_ms: float | None = Field(description=f"The median; {NO_VALUES}.")
    p95_ms: float | None
    p99_ms: float | None
    avg_ms: float | None
    max_ms: float | None
    count: int = Field(description="The number of values.")


class Requests(Result):
    """Requests that ended."""

    total: int
    successful: int
    failed: int = Field(description="Requests answered with an error.")
    cancelled: int = Field(description="Requests whose client disconnected.")
    error_rate: float = Field(description="The share of `failed` in `total`; 0 without requests.")


class Cache(Result):
    """Prompt tokens that were not processed again."""

    cached_tokens: int
    input_tokens: int
    hit_rate: float | None = Field(description=f"Share of prompt tokens that came from the cache; {NO_VALUES}.")
    kv_cache_usage: float | None = Field(
        default=None,
        description="Mean share of the KV cache in use, 0 to 1, while there was work; `null` if no engine reports it.",
    )


class Speculation(Result):
    """Tokens drafted by a draft model, where the engine reports them."""

    drafted_tokens: int
    accepted_tokens: int
    acceptance_rate: float | None = Field(description=f"Share of drafted tokens that were accepted; {NO_VALUES}.")


class Loads(Distribution):
    """Loads of models: how long they took, and why models left memory."""

    evictions: int = Field(description="Models unloaded to make room for others.")
    worker_exits: int = Field(description="Workers that ended unexpectedly.")


class Tools(Result):
    """Calls of the host's tools within requests."""

    calls: int
    seconds: float = Field(description="Time in these calls.")
    loops: int = Field(description="Requests with such calls.")
    turns: int = Field(description="Turns of models, in all requests.")


class Memory(Result):
    """Memory now."""

    gpu_used_mb: int | None = Field(description="Of all GPUs; `null` without one.")
    gpu_total_mb: int | None
    gpu_utilization: float | None = Field(description="The share of GPU memory in use, 0 to 1.")
    system_ram_mb: int = Field(description="Memory of the host and of its workers.")


class GpuSummary(Result):
    """The GPUs now, on average."""

    count: int
    utilization: float | None = Field(description="Share of the last moment in which they computed, 0 to 1.")
    power_w: float | None = Field(description="Their power together.")


class ModelMetrics(Result):
    """Numbers of a window; groups that were not requested are `null`."""

    throughput: Throughput | None = None
    latency: Distribution | None = Field(
        default=None, description="From the arrival of a request to the last byte of its answer; without failed ones."
    )
    requests: Requests
    time_to_first_token: Distribution | None = Field(
        default=None, description="From the arrival of a request to the first piece of its answer."
    )
    time_between_tokens: Distribution | None = Field(
        default=None, description="The mean time between the tokens of an answer, once per answer."
    )
    queue: Distribution | None = Field(default=None, description="Waiting time of requests that had to wait.")
    loads: Loads | None = None
    cache: Cache | None = None
    speculation: Speculation | None = None
    errors: dict[str, int] | None = Field(default=None, description="Failed requests by the code of their error.")
    tools: Tools | None = None


class HostMetrics(ModelMetrics):
    """Numbers of the whole host."""

    memory: Memory | None = None
    gpu: GpuSummary | None = None


def sketches_of(wanted: Collection[str]) -> frozenset[str]:
    """Return the monitor's names of the distributions in the groups of ``wanted``."""
    return frozenset(name for group, name in {**DISTRIBUTIONS, "loads": "load"}.items() if group in wanted)


def groups_of(cell: Cell, seconds: float, wanted: frozenset[str], *, is_whole: bool = False) -> Mapping[str, Any]:
    """Return the groups of ``wanted`` in a cell of ``seconds``; ``is_whole``: it is the sum over all models."""
    found: dict[str, Any] = {
        group: distribution_of(cell.sketches.get(name)) for group, name in DISTRIBUTIONS.items() if group in wanted
    }
    made: dict[str, Callable[[], Any]] = {
        "throughput": lambda: _throughput(cell, seconds, "host_" if is_whole else ""),
        "loads": lambda: _loads(cell),
        "cache": lambda: _cache(cell),
        "speculation": lambda: _speculation(cell),
        "errors": lambda: cell.errors,
        "tools": lambda: _tools(cell),
    }
    found |= {group: make() for group, make in made.items() if group in wanted}
    return {**found, "requests": _requests(cell)}


def distribution_of(sketch: Sketch | None) -> Distribution:
    """Return the percentiles of a sketch of seconds."""
    sketch = sketch or Sketch()
    return Distribution(
        p50_ms=_ms(sketch.quantile(0.5)),
        p95_ms=_ms(sketch.quantile(0.95)),
        p99_ms=_ms(sketch.quantile(0.99)),
        avg_ms=_ms(sketch.mean),
        max_ms=_ms(sketch.largest),
        count=int(sketch.count),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * MS_PER_SECOND, 3)


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole else None


def _throughput(cell: Cell, seconds: float, prefix: str) -> Throughput:
    steps = cell.total("batch_samples")
    return Throughput(
        tokens_per_second=round(cell.total("tokens_out") / seconds, 3),
        input_tokens_per_second=round(cell.total("tokens_in") / seconds, 3),
        requests_per_second=round(cell.total("requests") / seconds, 3),
        avg_batch_size=_share(cell.total("batch_sum"), steps)
        if steps
        else _share(cell.total(prefix + "work_seconds"), cell.total(prefix + "busy_seconds")),
        batch_source="engine" if steps else "in_flight",
    )


def _requests(cell: Cell) -> Requests:
    total, failed, cancelled = (int(cell.total(name)) for name in ("requests", "failed", "cancelled"))
    return Requests(
        total=total,
        successful=total - failed - cancelled,
        failed=failed,
        cancelled=cancelled,
        error_rate=_share(failed, total) or 0.0,
    )


def _loads(cell: Cell) -> Loads:
    times = distribution_of(cell.sketches.get("load"))
    exits = int(cell.total("worker_exits"))
    return Loads(**times.model_dump(), evictions=int(cell.total("evictions")), worker_exits=exits)


def _cache(cell: Cell) -> Cache:
    cached, given = cell.total("tokens_cached"), cell.total("tokens_in")
    usage = _share(cell.total("kv_sum"), cell.total("kv_samples"))
    return Cache(
        cached_tokens=int(cached), input_tokens=int(given), hit_rate=_share(cached, given), kv_cache_usage=usage
    )


def _speculation(cell: Cell) -> Speculation:
    drafted, accepted = cell.total("drafted"), cell.total("accepted")
    rate = _share(accepted, drafted)
    return Speculation(drafted_tokens=int(drafted), accepted_tokens=int(accepted), acceptance_rate=rate)


def _tools(cell: Cell) -> Tools:
    calls, loops, turns = (int(cell.total(name)) for name in ("tool_calls", "loops", "turns"))
    return Tools(calls=calls, seconds=round(cell.total("tool_seconds"), 3), loops=loops, turns=turns)
