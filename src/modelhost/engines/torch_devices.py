"""Whether the installed PyTorch can use NVIDIA GPUs: there are builds for CPUs only."""

from __future__ import annotations

import subprocess
from functools import cache

SCRIPT = "import torch; print(torch.cuda.is_available())"
SECONDS = 120.0


@cache
def torch_uses_gpus(python: str) -> bool:
    """Return whether the PyTorch of ``python`` finds a GPU. Checked once, in a process of its own: some seconds."""
    asked = subprocess.run([python, "-c", SCRIPT], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    return asked.stdout.strip() == "True"
