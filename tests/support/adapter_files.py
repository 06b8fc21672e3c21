"""Small LoRA adapters for nano, random but strong enough to change what it says greedily."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

from modelhost.models.files.gguf import read_header

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
RANK = 4
TARGETS = ("attn_q", "attn_v", "ffn_down")
PEFT_TARGETS = {"attn_q": "self_attn.q_proj", "attn_v": "self_attn.v_proj", "ffn_down": "mlp.down_proj"}

Weights = dict[str, tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.float32]]]]


def write_gguf_adapter(path: Path, seed: int) -> Path:
    """Write the adapter of ``seed`` to ``path``, as llama.cpp reads it."""
    writer = gguf.GGUFWriter(path, read_header(NANO).architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0 * RANK)
    for name, (down, up) in _weights(seed).items():
        writer.add_tensor(f"{name}.weight.lora_a", down)
        writer.add_tensor(f"{name}.weight.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_peft_adapter(directory: Path, seed: int) -> Path:
    """Write the adapter of ``seed`` into ``directory``, as PEFT saves one of the twin of nano in safetensors."""
    directory.mkdir(parents=True)
    tensors = {}
    for name, (down, up) in _weights(seed).items():
        _, layer, weight = name.split(".")
        place = f"base_model.model.model.layers.{layer}.{PEFT_TARGETS[weight]}"
        tensors |= {f"{place}.lora_A.weight": down, f"{place}.lora_B.weight": up}
    save_file(tensors, directory / "adapter_model.safetensors")
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "nano-hf",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": [place.rpartition(".")[2] for place in PEFT_TARGETS.values()],
        "bias": "none",
    }
    (directory / "adapter_config.json").write_text(json.dumps(described))
    return directory


def _weights(seed: int) -> Weights:
    """Return the two matrices of each weight that the adapter of ``seed`` changes."""
    numbers = np.random.default_rng(seed)
    found: Weights = {}
    for tensor in gguf.GGUFReader(NANO).tensors:
        name = tensor.name.removesuffix(".weight")
        if name.rpartition(".")[2] in TARGETS:
            inputs, outputs = (int(length) for length in tensor.shape)
            down = numbers.standard_normal((RANK, inputs)) / np.sqrt(inputs)
            found[name] = (down.astype(np.float32), numbers.standard_normal((outputs, RANK)).astype(np.float32))
    return found
