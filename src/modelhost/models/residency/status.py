"""The status of models and of the host, as frozen values for every door."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from modelhost.models.files.memory_pools import Bytes

Activity = Literal["download", "load"]
SHOWN_OPTIONS = (
    *("tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization", "quantization", "dtype"),
    *("enforce_eager", "enable_prefix_caching"),
)
"""Engine options that everyone may see: those that clients of vLLM ask for."""


class State(StrEnum):
    """What a model is doing."""

    UNLOADED = "unloaded"
    QUEUED = "queued"
    """It is wanted, and waits for memory, for its turn or for the pause after a failure."""
    LOADING = "loading"
    READY = "ready"
    BUSY = "busy"
    """Ready, with requests in flight."""
    STOPPING = "stopping"
    FAILED = "failed"


class ModelStatus(Struct, frozen=True, kw_only=True):
    """One model at one moment. Times are seconds since 1970, waits are seconds."""

    name: str
    aliases: tuple[str, ...]
    engine: str
    state: State
    activity: Activity | None = None
    """What it is loading: its files, or itself into memory."""
    progress: float | None = None
    """How far the activity is, 0 to 1, where that is known."""
    need_bytes: Bytes | None = None
    """What it is estimated to take, or has taken before; ``None``: its files are not here, or nobody has looked."""
    memory_bytes: Bytes | None = None
    """What its worker takes, measured; ``None`` without a worker."""
    size_bytes: int | None = None
    context_length: int | None = None
    max_tokens: int | None = None
    """The longest answer to a request that does not say: never more than the context."""
    slots: int | None = None
    in_flight: int = 0
    queue_length: int = 0
    oldest_wait_seconds: float | None = None
    last_error: str | None = None
    obstacle: str | None = None
    """Why it could not be loaded if it were requested now, according to its files, the settings and the budget."""
    tokens_per_second: float | None = None
    """Over all its answers of the last minutes together, while it had any at work."""
    latency_seconds: float | None = None
    """From the turn of a request to the first piece of its answer, on average over the last minutes."""
    loads: int = 0
    evictions: int = 0
    is_pinned: bool = False
    idle_unload_seconds: float | None = None
    loaded_at: float | None = None
    last_used_at: float | None = None
    operations: tuple[str, ...] = ()
    sees_images: bool | None = None
    """``None``: not known before it is loaded, or its engine does not say."""
    hears_audio: bool | None = None
    """As above."""
    engine_version: str | None = None
    """As its worker reports it; ``None`` without one."""
    dtype: str | None = None
    """The number format in force; ``None``: its engine chooses, or its files are quantized or not here."""
    quantization: str | None = None
    """In force: what its files are, or what its engine makes of them; ``None`` before they are found."""
    engine_options: Mapping[str, Any] = {}
    """Those of ``SHOWN_OPTIONS`` that are set."""
    load_config: Mapping[str, Any] = {}
    """How the requested load differs from its entry, in vLLM's terms."""
    is_config_temporary: bool = False
    """Whether that ends with its worker, or with the next load that brings no configuration."""
    defaults: Mapping[str, Any] = {}
    """The values that its requests get where they are silent."""
    notes: str | None = None
    adapters: tuple[str, ...] = ()
    """The LoRA adapters that its requests can choose."""


class HostStatus(Struct, frozen=True, kw_only=True):
    """All models at one moment."""

    models: tuple[ModelStatus, ...]
    active_model: str | None
    """The model of requests that name none."""
    switch_requested_at: float | None
    """When the active model was selected, as long as it is not ready."""
    budget_bytes: Bytes
    used_bytes: Bytes
    """What loaded and loading models are counted with against the budget."""
    max_models: int | None
    registry: str | None = None
    registry_error: str | None = None
    """Why the registry file as it stands is not in force; the one before it is."""


class ModelEvent(Struct, frozen=True, kw_only=True):
    """Something that happened to a model, or to the registry (then ``model`` is empty)."""

    at: float
    kind: Literal["state", "progress", "reload_failed", "removed", "registry"]
    model: str
    state: State | None = None
    activity: Activity | None = None
    progress: float | None = None
    message: str | None = None

    @property
    def about(self) -> tuple[str, str]:
        return self.model, self.kind


class ModelLog(Struct, frozen=True, kw_only=True):
    """What can be read about a model when something is wrong with it."""

    lines: tuple[str, ...]
    """The last ones that its worker wrote, or the worker before that, if there is none now."""
    events: tuple[ModelEvent, ...]
    """What happened to it last, the newest at the end; progress is left out."""


class LoadEstimate(Struct, frozen=True, kw_only=True):
    """What asking for a model to be loaded has begun, and what it will take. ``None`` is unknown."""

    model: str
    state: State
    estimated_seconds: float | None
    """From earlier loads, else from the size of the files."""
    need_bytes: Bytes | None
    position: int | None
    """Its place among the models that wait to be loaded, from 1."""


class Unloaded(Struct, frozen=True, kw_only=True):
    """A model whose worker is gone."""

    model: str
    freed_bytes: Bytes
    """What it took, measured before; empty if it was not loaded."""


class PulledModel(Struct, frozen=True, kw_only=True):
    """A model of the hub whose files are here."""

    name: str
    """What the host calls it."""
    path: Path
    """Its first file, or its directory."""


class Selected(Struct, frozen=True, kw_only=True):
    """The answer to making a model the active one."""

    status: Literal["already_active", "switching", "ready"]
    model: str
    queue_length: int
