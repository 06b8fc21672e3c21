"""MLX: safetensors on Apple silicon, and on the CPUs of other machines (https://github.com/ml-explore/mlx-lm)."""

from __future__ import annotations

import sys
from typing import Final

from modelhost.engines.base import Engine
from modelhost.engines.library_engine import LibraryEngine

ENGINE: Final[Engine] = LibraryEngine(
    "mlx",
    module="modelhost.engines.mlx.worker",
    options={
        "dtype": "auto",  # float32, bfloat16, float16; auto: the model's own on Apple silicon, float32 on a CPU
        "adapter_path": None,  # directory of a LoRA adapter trained by mlx_lm
    },
    # On a CPU MLX compiles its kernels with the system's C++ compiler, if it may: slower to start, and not faster here.
    environment={} if sys.platform == "darwin" else {"MLX_DISABLE_COMPILE": "1"},
    memory_phrases=("unable to allocate", "outofmemory", "out of memory", "bad_alloc"),
)
