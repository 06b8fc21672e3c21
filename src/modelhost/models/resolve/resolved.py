"""A model that can be started, and what changes of it after a load that ran out of GPU memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from modelhost.engines.base import Engine
from modelhost.engines.launch import ModelSpec
from modelhost.engines.special_tokens import ControlTokens
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import Task
from modelhost.models.files.memory_pools import MODELS, Bytes
from modelhost.models.files.model_files import Stamps
from modelhost.models.resolve.runtime import UnusedGpu
from modelhost.models.resolve.sizing import Offload
from modelhost.plurals import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A model that can be started."""

    spec: ModelSpec
    engine: Engine
    load_timeout_seconds: float
    size_bytes: int = 0
    """All files of the model together, with those beside it (draft model, adapters)."""
    need_bytes: Bytes = field(default_factory=dict)
    """What it is estimated to take of each pool; empty if its engine needs no files."""
    stamps: Stamps = field(default_factory=dict)
    """Of all files that were read for it."""
    control_tokens: ControlTokens | None = None
    """What the host neutralises in the contents of its chats; ``None``: nothing."""
    quantization: str | None = None
    """Of its files: `Q4_K_M`, `awq-4bit`, `F16`; ``None`` without files."""
    dtype: str | None = None
    """The number format in force: of a GGUF file its own, unless it is quantized; ``None``: the engine decides."""
    gpus: tuple[int, ...] = ()
    """Those that a worker of it could use; its options may leave it fewer."""
    offload: Offload | None = None
    """How it can be laid out over GPUs; ``None`` if that is its engine's business."""
    unused_gpu: UnusedGpu | None = None
    """Beside which it is computed on the CPU, though nobody wants that."""
    tasks: tuple[Task, ...] = ()
    """What its worker will announce that it does; empty if that is not known before it is started."""
    longest_context: int | None = None
    """Tokens that the model was made for; ``None`` if its files do not say."""
    hears_audio: bool | None = None
    """Whether its encoder is for sound; ``None`` without one: its engine will say."""

    @property
    def charge(self) -> Bytes:
        """What it is counted with against the budget: a model elsewhere is not one of those that are loaded here."""
        return {**self.need_bytes, MODELS: 0} if self.spec.urls else self.need_bytes

    @property
    def has_context(self) -> bool:
        """Whether it needs less memory with a smaller context."""
        return self.spec.context_length is not None and self.spec.task in (None, "embeddings")

    @property
    def is_fitted_to_gpus(self) -> bool:
        """Whether as much of it goes to the GPUs that the host sees as they have room for."""
        return self.offload is not None and self.offload.requested_layers is None and bool(self.offload.rooms)

    @property
    def is_partly_on_gpus(self) -> bool:
        """Whether they would have more of it if they had more room."""
        return self.is_fitted_to_gpus and self.offload is not None and sum(self.spec.gpu_split) < self.offload.total


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLimit:
    """How many layers on GPUs a model is tried with at most, since more have failed with a cache of ``cells``."""

    layers: int
    cells: int


def limit_after(resolved: Resolved) -> LayerLimit | None:
    """Return the limit for a model that had not enough GPU memory as it is.

    ``None``: there is nothing left to take off the GPUs, or its settings say how much is to be there.
    """
    offload = resolved.offload
    if offload is None or offload.requested_layers is not None:
        return None
    present = offload.total if resolved.spec.gpu_layers is None else resolved.spec.gpu_layers
    return LayerLimit(layers=fewer_layers(present, offload.total), cells=offload.cells) if present else None


def within_limit(resolved: Resolved, limit: LayerLimit | None) -> Resolved:
    """Return ``resolved`` within ``limit``, which says nothing of a model with a smaller cache."""
    offload = resolved.offload
    if limit is None or offload is None or offload.requested_layers is not None or offload.cells < limit.cells:
        return resolved
    layers = offload.layers(limit.layers)
    spec = replace(resolved.spec, gpu_layers=layers.count, gpu_split=layers.split)
    return replace(resolved, spec=spec, need_bytes=offload.need(layers))


def add_advice(resolved: Resolved, error: ModelhostError) -> None:
    """Add to ``error``, with which a load has ended for want of GPU memory, what can be done about it."""
    if resolved.offload is None or not resolved.offload.requested_layers:
        return
    error.message = (
        f"{error.message}\nThe GPUs have not enough memory for {counted(resolved.offload.requested_layers, 'layer')}: "
        "ask for fewer with --gpu-layers, or leave it out to have as many put there as fit."
    )
    error.args = (error.message,)


def fewer_layers(present: int, total: int) -> int:
    """Return how many layers are tried after ``present`` of ``total`` have failed.

    A quarter less as long as most are there, then half; few are not worth another load. So it takes a handful of loads
    from all of them to none.
    """
    wanted = present * 3 // 4 if present > total // 2 else present // 2
    return wanted if wanted >= max(1, total // 8) else 0
