"""Which devices the installed llama.cpp can compute on; it is built for some."""

from __future__ import annotations

import subprocess
from functools import cache

SCRIPT = "import xllamacpp; print(*[device['type'].name for device in xllamacpp.get_device_info()])"
SECONDS = 30.0
ON_CPU = ("CPU", "ACCEL")  # the ends of the names of ggml_backend_dev_type that are no GPU


@cache
def uses_gpus(python: str) -> bool:
    """Return whether the llama.cpp of ``python`` finds a GPU. Asked once, in a process of its own: 0.3 s."""
    asked = subprocess.run([python, "-c", SCRIPT], capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    return any(not name.endswith(ON_CPU) for name in asked.stdout.split())
