"""Loads models of transformers, which have to be complete: the library fills what it lacks with random numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modelhost.engines.worker.devices import device_of, dtype_of
from modelhost.engines.worker.process import UnusableFiles

COMPUTED: Final = ("encoder.embed_positions.weight",)
"""The ends of the names of tensors that are computed where a file lacks them: the sinusoids of a Whisper."""
WAY_OUT: Final = "the files do not fit together: download the model again, or take a complete one"
LISTED: Final = 3
"""Missing tensors that a message names."""


def loaded(
    model_class: Any, config: Mapping[str, Any], folder: Path | None = None, *, unused: Collection[str] = ()
) -> Any:
    """Return the model in ``folder`` (default: that of ``config``), ready to compute.

    ``unused`` are parts that nothing is computed with.

    Raises:
        UnusableFiles: they lack tensors, or have some of other shapes than their configuration says.
    """
    import torch  # noqa: PLC0415 (slow; the lifeline is watched already)

    device = device_of(torch, config["device"])
    place = Path(config["path"]) if folder is None else folder
    dtype = dtype_of(torch, config["dtype"], device)
    trusts = {"trust_remote_code": True} if config.get("trust_remote_code") else {}
    model, found = model_class.from_pretrained(
        # With an error of its own for wrong shapes, the library names them in its log only.
        place,
        dtype=dtype,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **trusts,
    )
    _check_shapes(found["mismatched_keys"])
    prefix = model.base_model_prefix
    missing = sorted(
        name for name in found["missing_keys"] if not name.endswith(COMPUTED) and _part_of(name, prefix) not in unused
    )
    if missing:
        parts = ", ".join(sorted({_part_of(name, prefix) for name in missing}))
        named = ", ".join(missing[:LISTED])
        raise UnusableFiles(
            f"the checkpoint lacks {len(missing)} tensors of its part {parts} ({named}): download it again, or take a "
            "complete one"
        )
    return model.to(device).eval()


def _check_shapes(mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Check that no tensor has another shape in the files than in the model; each with both shapes, in this order."""
    if mismatched:
        name, in_files, in_model = min(mismatched)
        others = f" ({len(mismatched) - 1} more differ)" if len(mismatched) > 1 else ""
        raise UnusableFiles(
            f"the tensor {name} has the shape {list(in_files)}, where config.json describes {list(in_model)}{others}: "
            f"{WAY_OUT}"
        )


def _part_of(tensor: str, prefix: str) -> str:
    """Return the part of a model that ``tensor`` belongs to; ``prefix`` stands for all of it."""
    return tensor.removeprefix(f"{prefix}.").partition(".")[0] if prefix else tensor.partition(".")[0]
