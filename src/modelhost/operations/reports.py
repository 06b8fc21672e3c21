"""Reports on models, on the host and on events of models, the same at every door."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from modelhost.models.files.memory_pools import Bytes
from modelhost.models.residency.status import Activity, HostStatus, ModelEvent, ModelStatus, State
from modelhost.operations.operation import Result

BYTES_PER_MB: Final = 1_000_000

Condition = Literal["loaded", "unloaded", "loading", "error"]
CONDITIONS: Final[Mapping[State, Condition]] = {
    State.UNLOADED: "unloaded",
    State.QUEUED: "loading",
    State.LOADING: "loading",
    State.READY: "loaded",
    State.BUSY: "loaded",
    State.STOPPING: "unloaded",
    State.FAILED: "error",
}
HostCondition = Literal["idle", "switching", "loading", "ready", "error"]
HOST_CONDITIONS: Final[Mapping[State, HostCondition]] = {
    State.UNLOADED: "idle",
    State.QUEUED: "switching",
    State.LOADING: "loading",
    State.READY: "ready",
    State.BUSY: "ready",
    State.STOPPING: "switching",
    State.FAILED: "error",
}

LOAD_CONFIG_HELP: Final = "The configuration of its load, if it differs from its entry."
TEMPORARY_HELP: Final = "Whether that configuration ends with the worker, or with the next load without one."
ADAPTERS_HELP: Final = "The LoRA adapters that requests can choose: `lora`, or `MODEL:ADAPTER` as the model."
BYTES_HELP: Final = "by pool: `ram`, `gpu:0`, `gpu:1` ..."
MAX_TOKENS_HELP: Final = (
    "Longest answer to a request without `max_tokens`: the model's default, at most the context; "
    "`null` if unknown, or if the model generates no text."
)
THROUGHPUT_HELP: Final = (
    "Tokens per second of all answers of the last five minutes together, over the time with requests "
    "at work; `null` if there were none."
)
LATENCY_HELP: Final = (
    "from a request's turn to the first token, averaged over the last five minutes, without loading and waiting."
)

Dtype = Annotated[
    str | None,
    Field(description="Number format in force; `null` if the engine chooses it, or the files are quantized."),
]
Quantization = Annotated[
    str | None,
    Field(
        description="Quantization in force, such as `Q4_K_M` or `F16`; `null` if unknown because its files are not on "
        "this machine."
    ),
]
IdleUnloadSeconds = Annotated[
    float | None, Field(description="Seconds without a request after which the model is unloaded.")
]


def condition_of(model: ModelStatus) -> Condition:
    """Return the condition of a model; a model that cannot be loaded is an error even before an attempt."""
    return "error" if model.obstacle is not None else CONDITIONS[model.state]


def host_condition_of(model: ModelStatus) -> HostCondition:
    """Return the condition of a host with this model; see :func:`condition_of`."""
    return "error" if model.obstacle is not None else HOST_CONDITIONS[model.state]


def megabytes(amount: Bytes | None) -> int | None:
    """Return ``amount`` over all pools in MB of 1,000,000 bytes, rounded up; ``None`` is unknown."""
    return None if amount is None else math.ceil(sum(amount.values()) / BYTES_PER_MB)


class ModelReport(Result):
    """One model at one moment. Times are seconds since 1970; `null` is not known, or not the case."""

    name: str
    aliases: list[str]
    engine: str
    state: State
    activity: Activity | None = Field(description="What is being loaded: the model's files, or the model itself.")
    progress: float | None = Field(description="Progress, 0 to 1.")
    need_bytes: dict[str, int] | None = Field(description=f"Expected memory use, {BYTES_HELP}")
    need_mb: int | None = Field(description="The sum over all pools, in MB.")
    memory_bytes: dict[str, int] | None = Field(description=f"Measured memory use of its worker, {BYTES_HELP}")
    memory_mb: int | None = Field(description="The sum over all pools, in MB.")
    size_bytes: int | None = Field(description="The size of the model's files.")
    context_length: int | None = Field(description="Maximum tokens per conversation.")
    max_tokens: int | None = Field(default=None, description=MAX_TOKENS_HELP)
    slots: int | None = Field(description="Conversations that the model can process at the same time.")
    in_flight: int = Field(description="Requests at work.")
    queue_length: int = Field(description="Requests waiting.")
    oldest_wait_seconds: float | None = Field(description="How long the oldest waiting request has waited.")
    last_error: str | None
    obstacle: str | None = Field(
        default=None,
        description="Why the model cannot be loaded at present, according to its files, the settings and the budget.",
    )
    tokens_per_second: float | None = Field(default=None, description=THROUGHPUT_HELP)
    latency_seconds: float | None = Field(default=None, description=f"Seconds {LATENCY_HELP}")
    loads: int = Field(description="Number of loads.")
    evictions: int = Field(description="Number of evictions.")
    is_pinned: bool = Field(description="Whether the model is pinned: it is never evicted.")
    idle_unload_seconds: IdleUnloadSeconds
    loaded_at: float | None
    last_used_at: float | None
    operations: list[str] = Field(
        description="Supported operations; before the first load, those that the model's files tell."
    )
    sees_images: bool | None = Field(default=None, description="Whether the model accepts images; `null` if unknown.")
    hears_audio: bool | None = Field(default=None, description="Whether the model accepts sound; `null` if unknown.")
    engine_version: str | None = Field(
        default=None, description="The version of its engine, as reported by the worker."
    )
    dtype: Dtype = None
    quantization: Quantization = None
    engine_options: dict[str, Any] = Field(
        default_factory=dict, description="Engine options that are set and matter to clients."
    )
    load_config: dict[str, Any] = Field(default_factory=dict, description=LOAD_CONFIG_HELP)
    is_config_temporary: bool = Field(default=False, description=TEMPORARY_HELP)
    defaults: dict[str, Any] = Field(description="The model's request defaults.")
    notes: str | None
    adapters: list[str] = Field(default_factory=list, description=ADAPTERS_HELP)


class PoolReport(Result):
    """The memory of the machine, or of one GPU."""

    budget_bytes: int = Field(description="Maximum memory for all models together.")
    budget_mb: int
    used_bytes: int = Field(description="Memory counted for loaded and loading models.")
    used_mb: int


class HostReport(Result):
    """All models at one moment."""

    active_model: str | None = Field(description="The model that answers requests without a model.")
    status: HostCondition = Field(description="The state of the active model; `switching` if it waits to be loaded.")
    last_error: str | None = Field(description="The last error of the active model.")
    in_flight_requests: int = Field(description="Requests at work on all models.")
    switch_requested_at: int | None = Field(
        description="Milliseconds since the active model was selected, while it is not ready."
    )
    queue_lengths: dict[str, int] = Field(description="Waiting requests by model.")
    models: list[ModelReport]
    memory: dict[str, PoolReport] = Field(description=f"Budget and use {BYTES_HELP}")
    max_models: int | None = Field(description="Maximum number of models loaded at the same time.")
    registry: str | None = Field(description="The registry file.")
    registry_error: str | None = Field(description="Why the current contents of that file are not in force.")


KNOWN: Final = ModelStatus.__struct_fields__
_known: Final = attrgetter(*KNOWN)


def model_report(status: ModelStatus) -> ModelReport:
    known = dict(zip(KNOWN, _known(status), strict=True))
    known["need_mb"], known["memory_mb"] = megabytes(status.need_bytes), megabytes(status.memory_bytes)
    return ModelReport.model_validate(known)


def host_report(status: HostStatus) -> HostReport:
    active = next((model for model in status.models if model.name == status.active_model), None)
    since = status.switch_requested_at
    return HostReport(
        active_model=status.active_model,
        status=_host_condition(active, is_switching=since is not None),
        last_error=error_of(active) if active else None,
        in_flight_requests=sum(model.in_flight for model in status.models),
        switch_requested_at=None if since is None else max(0, int((time.time() - since) * 1000)),
        queue_lengths={model.name: model.queue_length for model in status.models},
        models=[model_report(model) for model in status.models],
        memory={pool: _pool_report(status, pool) for pool in sorted({*status.budget_bytes, *status.used_bytes})},
        max_models=status.max_models,
        registry=status.registry,
        registry_error=status.registry_error,
    )


def error_of(model: ModelStatus) -> str | None:
    """Return why a model cannot be loaded, or else its last error."""
    return model.obstacle or model.last_error


def _host_condition(active: ModelStatus | None, *, is_switching: bool) -> HostCondition:
    if active is None:
        return "idle"
    if is_switching and active.state is State.UNLOADED and active.obstacle is None:
        return "switching"
    return host_condition_of(active)


def _pool_report(status: HostStatus, pool: str) -> PoolReport:
    budget, used = status.budget_bytes.get(pool, 0), status.used_bytes.get(pool, 0)
    return PoolReport(
        budget_bytes=budget,
        budget_mb=math.floor(budget / BYTES_PER_MB),
        used_bytes=used,
        used_mb=math.ceil(used / BYTES_PER_MB),
    )


class EventReport(Result):
    """One event."""

    at: float = Field(description="Time of the event, in seconds since 1970.")
    kind: Literal["state", "progress", "reload_failed", "removed", "registry"] = Field(
        description="`state`: a model's state changed. `progress`: a load or download progressed. "
        "`reload_failed`: a model could not be loaded with another configuration, and has the earlier one. "
        "`removed`: the host no longer has the model. `registry`: the registry was reread, or could not be."
    )
    model: str = Field(description="The model; empty for `registry`.")
    state: State | None = None
    activity: Activity | None = Field(
        default=None, description="What is being loaded: the model's files, or the model itself."
    )
    progress: float | None = Field(default=None, description="Progress, 0 to 1, if known.")
    message: str | None = Field(default=None, description="The reason, if there is one.")


def event_report(event: ModelEvent) -> EventReport:
    return EventReport.model_validate(event, from_attributes=True)
