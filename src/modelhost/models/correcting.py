"""What becomes of a model whose load has ended for want of GPU memory: fewer of its layers go there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelhost.errors import ModelhostError
from modelhost.models.resolve import Resolved


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
    if offload is None or offload.asked is not None:
        return None
    present = offload.total if resolved.spec.gpu_layers is None else resolved.spec.gpu_layers
    return LayerLimit(layers=fewer(present, offload.total), cells=offload.cells) if present else None


def limited(resolved: Resolved, limit: LayerLimit | None) -> Resolved:
    """Return ``resolved`` within ``limit``, which says nothing of a model with a smaller cache."""
    offload = resolved.offload
    if limit is None or offload is None or offload.asked is not None or offload.cells < limit.cells:
        return resolved
    layers = offload.layers(limit.layers)
    spec = replace(resolved.spec, gpu_layers=layers.count, gpu_split=layers.split)
    return replace(resolved, spec=spec, need_bytes=offload.need(layers))


def say_way_out(resolved: Resolved, error: ModelhostError) -> None:
    """Add to ``error``, with which a load has ended for want of GPU memory, what can be done about it."""
    if resolved.offload is None or not resolved.offload.asked:
        return
    error.message = (
        f"{error.message}\nThe GPUs have not enough memory for {resolved.offload.asked} layers: ask for fewer with "
        "--gpu-layers, or leave it out to have as many put there as fit."
    )
    error.args = (error.message,)


def fewer(present: int, total: int) -> int:
    """Return how many layers are tried after ``present`` of ``total`` have failed.

    A quarter less as long as most are there, then half; few are not worth another load. So it takes a handful of loads
    from all of them to none.
    """
    wanted = present * 3 // 4 if present > total // 2 else present // 2
    return wanted if wanted >= max(1, total // 8) else 0
