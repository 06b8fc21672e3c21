"""All metrics of the host. Modules that measure import :data:`METERS`; ``/metrics`` renders it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from prometheus_client import CollectorRegistry

from modelhost.series import Counter, Gauge, Histogram, Meter

REGISTRY = CollectorRegistry()

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BETWEEN_TOKENS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
WHOLE_REQUEST = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LOADING = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


def _counter(name: str, description: str, *labels: str) -> Counter:
    return Counter(name, description, labels, registry=REGISTRY)


def _gauge(name: str, description: str, *labels: str) -> Gauge:
    return Gauge(name, description, labels, registry=REGISTRY)


def _histogram(name: str, description: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    return Histogram(name, description, labels, buckets=buckets, registry=REGISTRY)


class Meters:
    """The metrics by name. The label ``model`` is the main name of a known model, or empty."""

    requests = _counter("modelhost_requests", "Requests answered.", "model", "operation", "status")
    errors = _counter("modelhost_errors", "Requests answered with an error, by its code.", "model", "code")
    cancelled = _counter("modelhost_cancelled", "Requests whose client disconnected before the end.", "model")
    request_seconds = _histogram(
        "modelhost_request_seconds",
        "Time from the request's arrival to its last byte.",
        "model",
        "operation",
        buckets=WHOLE_REQUEST,
    )
    time_to_first_token = _histogram(
        "modelhost_time_to_first_token_seconds",
        "Time from the request's arrival to the first piece of the answer.",
        "model",
        buckets=FAST,
    )
    time_between_tokens = _histogram(
        "modelhost_time_between_tokens_seconds",
        "Mean time between the tokens of an answer, once per answer of two or more tokens.",
        "model",
        buckets=BETWEEN_TOKENS,
    )
    tokens_in = _counter("modelhost_tokens_in", "Prompt tokens, including those from the cache.", "model")
    tokens_cached = _counter("modelhost_tokens_cached", "Prompt tokens that came from the cache.", "model")
    tokens_out = _counter("modelhost_tokens_out", "Generated tokens.", "model")
    queue_length = _gauge("modelhost_queue_length", "Requests waiting for the model.", "model")
    queue_seconds = _histogram(
        "modelhost_queue_seconds", "Waiting time of requests that had to wait.", "model", buckets=FAST
    )
    in_flight = _gauge("modelhost_requests_in_flight", "Requests at work.", "model")
    slots = _gauge("modelhost_slots", "Conversations that the engine can process at the same time.", "model")
    slots_in_use = _gauge("modelhost_slots_in_use", "Slots at work.", "model")
    model_ready = _gauge("modelhost_model_ready", "1 while the model can answer.", "model")
    load_seconds = _histogram(
        "modelhost_load_seconds", "Time from the start of a worker until it is ready.", "model", buckets=LOADING
    )
    loads = _counter("modelhost_model_loads", "Loads of the model.", "model")
    evictions = _counter("modelhost_model_evictions", "Evictions of the model to make room for another one.", "model")
    memory_bytes = _gauge(
        "modelhost_model_memory_bytes",
        "Memory of the model's worker, by pool (`ram`, `gpu:0` ...), measured every few seconds.",
        "model",
        "pool",
    )
    registry_ok = _gauge("modelhost_registry_ok", "0 while the registry file is broken, otherwise 1.")
    mcp_config_ok = _gauge("modelhost_mcp_config_ok", "0 while `mcp.json` is broken, otherwise 1.")
    registry_ok.set(1)
    mcp_config_ok.set(1)
    tool_calls = _counter(
        "modelhost_tool_calls",
        "Calls of MCP servers' tools, by outcome: `ok`, `cancelled`, or the code that the model "
        "received. The label `tool` is empty for unknown tools, and for servers that requests name by URL: "
        "their `server` is `(of a request)`.",
        "server",
        "tool",
        "outcome",
    )
    tool_call_seconds = _histogram(
        "modelhost_tool_call_seconds",
        "Time from such a call to its outcome, including the wait for approval or input.",
        "server",
        "tool",
        buckets=WHOLE_REQUEST,
    )
    mcp_calls = _counter(
        "modelhost_mcp_calls",
        "Calls of the tools of the host's own MCP servers, by outcome: `ok`, or the code of the error.",
        "tool",
        "outcome",
    )
    mcp_call_seconds = _histogram(
        "modelhost_mcp_call_seconds",
        "Time from the arrival of such a call to its result.",
        "tool",
        buckets=WHOLE_REQUEST,
    )
    operations = _counter(
        "modelhost_operations",
        "Operations performed, including calls of the host's own MCP tools, by face and outcome: "
        "`ok`, `cancelled`, `client_left`, or the code of the error.",
        "operation",
        "face",
        "outcome",
    )
    operation_seconds = _histogram(
        "modelhost_operation_seconds",
        "Time from the arrival of an operation's parameters to its result.",
        "operation",
        "face",
        buckets=WHOLE_REQUEST,
    )
    audit_entries_lost = _counter(
        "modelhost_audit_entries_lost", "Audit log entries that were lost because the database did not accept them."
    )
    stored_responses = _gauge(
        "modelhost_stored_responses",
        "Responses in the database, as of the last one that this host stored.",
    )
    stored_conversations = _gauge(
        "modelhost_stored_conversations",
        "Conversations in the database, as of the last response or conversation that this host stored.",
    )
    stored_response_bytes = _gauge(
        "modelhost_stored_response_bytes",
        "Size of the stored responses and conversations, as of the last one that this host stored.",
    )
    dropped_responses = _counter(
        "modelhost_dropped_responses",
        "Stored responses that this host deleted because of their number, size or age.",
    )
    background_faults = _counter(
        "modelhost_background_faults",
        "Rounds of background work that failed because of a fault in the host, by task; the next round runs anyway.",
        "task",
    )
    worker_exits = _counter("modelhost_worker_exits", "Workers that ended unexpectedly.", "model")

    @classmethod
    def all(cls) -> list[Meter]:
        """Return them all, in the order above."""
        return [meter for meter in vars(cls).values() if isinstance(meter, Meter)]


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
    """The metrics of one model. Each has a series once it was used: idle models of a large registry have none."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._pools = {"ram"}

    @cached_property
    def time_to_first_token(self) -> Histogram:
        return METERS.time_to_first_token.labels(self._model)

    @cached_property
    def time_between_tokens(self) -> Histogram:
        return METERS.time_between_tokens.labels(self._model)

    @cached_property
    def tokens_in(self) -> Counter:
        return METERS.tokens_in.labels(self._model)

    @cached_property
    def tokens_cached(self) -> Counter:
        return METERS.tokens_cached.labels(self._model)

    @cached_property
    def tokens_out(self) -> Counter:
        return METERS.tokens_out.labels(self._model)

    @cached_property
    def queue_length(self) -> Gauge:
        return METERS.queue_length.labels(self._model)

    @cached_property
    def queue_seconds(self) -> Histogram:
        return METERS.queue_seconds.labels(self._model)

    @cached_property
    def in_flight(self) -> Gauge:
        return METERS.in_flight.labels(self._model)

    @cached_property
    def slots(self) -> Gauge:
        return METERS.slots.labels(self._model)

    @cached_property
    def slots_in_use(self) -> Gauge:
        return METERS.slots_in_use.labels(self._model)

    @cached_property
    def model_ready(self) -> Gauge:
        return METERS.model_ready.labels(self._model)

    @cached_property
    def load_seconds(self) -> Histogram:
        return METERS.load_seconds.labels(self._model)

    @cached_property
    def worker_exits(self) -> Counter:
        return METERS.worker_exits.labels(self._model)

    @cached_property
    def loads(self) -> Counter:
        return METERS.loads.labels(self._model)

    @cached_property
    def evictions(self) -> Counter:
        return METERS.evictions.labels(self._model)

    def count_load(self, seconds: float, slots: int) -> None:
        """Count a load that took ``seconds``, of a worker with ``slots``."""
        self.load_seconds.observe(seconds)
        self.loads.inc()
        self.slots.set(slots)
        # These are 0 from now on: without a first value, Prometheus would not see the first exit or eviction.
        self.worker_exits.inc(0)
        self.evictions.inc(0)

    def set_unloaded(self) -> None:
        """Note that the model cannot answer now; nothing, if it was never to."""
        if "model_ready" in vars(self):
            self.model_ready.set(0)

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
