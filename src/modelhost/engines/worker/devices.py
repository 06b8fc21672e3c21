"""Where a model of PyTorch computes, and in which numbers: what the options of its engine mean on this machine."""

from __future__ import annotations

from typing import Any


def device_of(torch: Any, wanted: str) -> str:
    """Return the device for the option ``device``; ``torch`` is the module."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_of(torch: Any, wanted: str, device: str) -> Any:
    """Return the number format for the option ``dtype``.

    A CPU computes in 32 bits faster than in 16, which most have no instructions for.
    """
    if wanted != "auto":
        return getattr(torch, wanted)
    return torch.float32 if device == "cpu" else "auto"
