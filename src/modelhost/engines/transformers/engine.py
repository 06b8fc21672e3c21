"""transformers: any safetensors model that PyTorch runs (https://github.com/huggingface/transformers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.base import Engine
from modelhost.engines.installed import torch_uses_gpus
from modelhost.engines.library_engine import LibraryEngine


class Transformers(LibraryEngine):
    """transformers."""

    def finds_gpus(self, python: str, _options: Mapping[str, Any], _env: Mapping[str, str]) -> bool:
        return torch_uses_gpus(python)


ENGINE: Final[Engine] = Transformers(
    "transformers",
    module="modelhost.engines.transformers.worker",
    options={
        "device": "auto",  # cpu, cuda, mps; auto: a GPU if there is one
        "dtype": "auto",  # float32, bfloat16, float16; auto: the model's own on a GPU, float32 on a CPU
        "trust_remote_code": False,  # run Python files of the model
    },
    environment={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},  # as NVML counts them
    memory_phrases=("out of memory", "can't allocate memory", "not enough memory", "bad_alloc"),
)
