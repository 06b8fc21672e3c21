"""What the installed llama.cpp says of its devices."""

from __future__ import annotations

import sys

from modelhost.engines.llamacpp_devices import uses_gpus
from modelhost.workers.gpus import gpus


def test_without_a_gpu_the_engine_uses_none() -> None:
    assert gpus() or not uses_gpus(sys.executable)


def test_a_python_without_the_engine_uses_none() -> None:
    assert not uses_gpus("/bin/false")
