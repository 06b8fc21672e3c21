"""All metrics of the host. Modules that measure import :data:`METERS`; ``/metrics`` renders it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BETWEEN_TOKENS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
WHOLE_REQUEST = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LOADING = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Meters:
    """The metrics by name. The label ``model`` is the main name of a known model, or empty."""

    requests = Counter("modelhost_requests", "Requests answered.", ["model", "operation", "status"], registry=REGISTRY)
    errors = Counter(
        "modelhost_errors", "Requests answered with an error, by its code.", ["model", "code"], registry=REGISTRY
    )
    cancelled = Counter(
        "modelhost_cancelled", "Requests whose client disconnected before the end.", ["model"], registry=REGISTRY
    )
    request_seconds = Histogram(
        "modelhost_request_seconds",
        "Time from the request's arrival to its last byte.",
        ["model", "operation"],
        buckets=WHOLE_REQUEST,
        registry=REGISTRY,
    )
    time_to_first_token = Histogram(
        "modelhost_time_to_first_token_seconds",
        "Time from the request's arrival to the first piece of the answer.",
        ["model"],
        buckets=FAST,
        registry=REGISTRY,
    )
    time_between_tokens = Histogram(
        "modelhost_time_between_tokens_seconds",
        "Mean time between the tokens of an answer, once per answer of two or more tokens.",
        ["model"],
        buckets=BETWEEN_TOKENS,
        registry=REGISTRY,
    )
    tokens_in = Counter(
        "modelhost_tokens_in", "Prompt tokens, including those from the cache.", ["model"], registry=REGISTRY
    )
    tokens_cached = Counter(
        "modelhost_tokens_cached", "Prompt tokens that came from the cache.", ["model"], registry=REGISTRY
    )
    tokens_out = Counter("modelhost_tokens_out", "Generated tokens.", ["model"], registry=REGISTRY)
    queue_length = Gauge("modelhost_queue_length", "Requests waiting for the model.", ["model"], registry=REGISTRY)
    queue_seconds = Histogram(
        "modelhost_queue_seconds",
        "Waiting time of requests that had to wait.",
        ["model"],
        buckets=FAST,
        registry=REGISTRY,
    )
    in_flight = Gauge("modelhost_requests_in_flight", "Requests at work.", ["model"], registry=REGISTRY)
    slots = Gauge(
        "modelhost_slots", "Conversations that the engine can process at the same time.", ["model"], registry=REGISTRY
    )
    slots_in_use = Gauge("modelhost_slots_in_use", "Slots at work.", ["model"], registry=REGISTRY)
    model_ready = Gauge("modelhost_model_ready", "1 while the model can answer.", ["model"], registry=REGISTRY)
    load_seconds = Histogram(
        "modelhost_load_seconds",
        "Time from the start of a worker until it is ready.",
        ["model"],
        buckets=LOADING,
        registry=REGISTRY,
    )
    loads = Counter("modelhost_model_loads", "Loads of the model.", ["model"], registry=REGISTRY)
    evictions = Counter(
        "modelhost_model_evictions",
        "Evictions of the model to make room for another one.",
        ["model"],
        registry=REGISTRY,
    )
    memory_bytes = Gauge(
        "modelhost_model_memory_bytes",
        "Memory of the model's worker, by pool (`ram`, `gpu:0` ...), measured every few seconds.",
        ["model", "pool"],
        registry=REGISTRY,
    )
    registry_ok = Gauge(
        "modelhost_registry_ok",
        "1 if the current registry file is in force, 0 if it is broken.",
        registry=REGISTRY,
    )
    mcp_config_ok = Gauge(
        "modelhost_mcp_config_ok", "1 if the current `mcp.json` is in force, 0 if it is broken.", registry=REGISTRY
    )
    tool_calls = Counter(
        "modelhost_tool_calls",
        "Calls of MCP servers' tools, by outcome: `ok`, `cancelled`, or the code that the model "
        "received. The label `tool` is empty for unknown tools.",
        ["server", "tool", "outcome"],
        registry=REGISTRY,
    )
    tool_call_seconds = Histogram(
        "modelhost_tool_call_seconds",
        "Time from such a call to its outcome, including the wait for approval or input.",
        ["server", "tool"],
        buckets=WHOLE_REQUEST,
        registry=REGISTRY,
    )
    mcp_calls = Counter(
        "modelhost_mcp_calls",
        "Calls of the tools of the host's own MCP servers, by outcome: `ok`, or the code of the error.",
        ["tool", "outcome"],
        registry=REGISTRY,
    )
    mcp_call_seconds = Histogram(
        "modelhost_mcp_call_seconds",
        "Time from the arrival of such a call to its result.",
        ["tool"],
        buckets=WHOLE_REQUEST,
        registry=REGISTRY,
    )
    operations = Counter(
        "modelhost_operations",
        "Operations performed, including calls of the host's own MCP tools, by face and outcome: "
        "`ok`, `cancelled`, `client_left`, or the code of the error.",
        ["operation", "face", "outcome"],
        registry=REGISTRY,
    )
    operation_seconds = Histogram(
        "modelhost_operation_seconds",
        "Time from the arrival of an operation's parameters to its result.",
        ["operation", "face"],
        buckets=WHOLE_REQUEST,
        registry=REGISTRY,
    )
    audit_entries_lost = Counter(
        "modelhost_audit_entries_lost",
        "Audit log entries that were lost because the database did not accept them.",
        registry=REGISTRY,
    )
    background_faults = Counter(
        "modelhost_background_faults",
        "Rounds of background work that failed because of a fault in the host, by task; the next round runs anyway.",
        ["task"],
        registry=REGISTRY,
    )
    worker_exits = Counter("modelhost_worker_exits", "Workers that ended unexpectedly.", ["model"], registry=REGISTRY)


METERS = Meters()


# One metric by its labels is looked up once: that costs more than measuring does. No label is ever taken away.


@cache
def labelled_counter(counter: Counter, *labels: str) -> Counter:
    """Return ``counter`` with those labels."""
    return counter.labels(*labels)


@cache
def labelled_histogram(histogram: Histogram, *labels: str) -> Histogram:
    """Return ``histogram`` with those labels."""
    return histogram.labels(*labels)


class ModelMeters:
    """The metrics of one model."""

    def __init__(self, model: str) -> None:
        self.time_to_first_token = METERS.time_to_first_token.labels(model)
        self.time_between_tokens = METERS.time_between_tokens.labels(model)
        self.tokens_in = METERS.tokens_in.labels(model)
        self.tokens_cached = METERS.tokens_cached.labels(model)
        self.tokens_out = METERS.tokens_out.labels(model)
        self.queue_length = METERS.queue_length.labels(model)
        self.queue_seconds = METERS.queue_seconds.labels(model)
        self.in_flight = METERS.in_flight.labels(model)
        self.slots = METERS.slots.labels(model)
        self.slots_in_use = METERS.slots_in_use.labels(model)
        self.model_ready = METERS.model_ready.labels(model)
        self.load_seconds = METERS.load_seconds.labels(model)
        self.worker_exits = METERS.worker_exits.labels(model)
        self.loads = METERS.loads.labels(model)
        self.evictions = METERS.evictions.labels(model)
        self._model = model
        self._pools = {"ram"}

    def set_memory(self, memory: Mapping[str, int]) -> None:
        """Set the memory of the worker, by pool; empty: there is no worker."""
        self._pools |= memory.keys()
        for pool in self._pools:
            METERS.memory_bytes.labels(self._model, pool).set(memory.get(pool, 0))

    def count_usage(self, usage: Mapping[str, Any] | None) -> None:
        """Count the tokens of OpenAI's usage object."""
        if usage:
            self.tokens_in.inc(usage.get("prompt_tokens") or 0)
            self.tokens_out.inc(usage.get("completion_tokens") or 0)
            self.tokens_cached.inc((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
