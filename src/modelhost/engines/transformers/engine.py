"""transformers: any safetensors model that PyTorch runs (https://github.com/huggingface/transformers)."""

from __future__ import annotations

from typing import Final

from modelhost.engines.library_engine import LibraryEngine

TRANSFORMERS: Final = LibraryEngine(
    "transformers",
    module="modelhost.engines.transformers.worker",
    options={
        "device": "auto",  # cpu, cuda, mps; auto: a GPU if there is one
        "dtype": "auto",  # float32, bfloat16, float16; auto: the model's own on a GPU, float32 on a CPU
        "trust_remote_code": False,  # whether Python files beside the model are run
    },
    environment={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"},  # as NVML counts them
    memory_phrases=("out of memory", "can't allocate memory", "not enough memory", "bad_alloc"),
)
