"""Examples of what the operations on models take and give, for every description of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Example = Mapping[str, Any]

_CARD: Final[Example] = {
    "id": "qwen",
    "object": "model",
    "created": 1767225600,
    "owned_by": "modelhost",
    "name": "qwen",
    "aliases": ["Qwen/Qwen3-4B-GGUF"],
    "engine": "llamacpp",
    "state": "ready",
    "status": "loaded",
    "context_length": 16384,
    "max_model_len": 16384,
    "context_window": 16384,
    "max_tokens": 1024,
    "memory_usage_mb": 4212,
    "memory_required_mb": 4400,
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "dtype": None,
    "quantization": "Q4_K_M",
    "load_config": {"max_model_len": 16384},
    "is_config_temporary": True,
    "slots": 4,
    "operations": ["chat", "completions", "detokenize", "embeddings", "tokenize"],
    "sees_images": False,
    "parent": None,
    "adapters": ["pirate"],
}
_WITH_ADAPTER: Final[Example] = {
    **_CARD,
    "id": "qwen:pirate",
    "name": "qwen:pirate",
    "aliases": ["Qwen/Qwen3-4B-GGUF:pirate"],
    "operations": ["chat", "completions", "detokenize", "tokenize"],
    "parent": "qwen",
    "adapters": [],
}
LIST: Final[Example] = {"models": [_CARD, _WITH_ADAPTER]}
STATUS: Final[Example] = {
    "active_model": "qwen",
    "status": "ready",
    "last_error": None,
    "in_flight_requests": 1,
    "switch_requested_at": None,
    "queue_lengths": {"qwen": 0},
    "models": [
        {
            "name": "qwen",
            "aliases": ["Qwen/Qwen3-4B-GGUF"],
            "engine": "llamacpp",
            "state": "busy",
            "activity": None,
            "progress": None,
            "need_bytes": {"ram": 4400000000},
            "need_mb": 4400,
            "memory_bytes": {"ram": 4211081216},
            "memory_mb": 4212,
            "size_bytes": 2497280256,
            "context_length": 16384,
            "max_tokens": 1024,
            "slots": 4,
            "in_flight": 1,
            "queue_length": 0,
            "oldest_wait_seconds": None,
            "last_error": None,
            "obstacle": None,
            "tokens_per_second": 31.5,
            "latency_seconds": 0.0842,
            "loads": 2,
            "evictions": 1,
            "is_pinned": False,
            "idle_unload_seconds": 600.0,
            "loaded_at": 1767225600.0,
            "last_used_at": 1767225660.5,
            "operations": ["chat", "completions", "detokenize", "embeddings", "tokenize"],
            "sees_images": False,
            "engine_version": "2026.10.11549",
            "dtype": None,
            "quantization": "Q4_K_M",
            "engine_options": {},
            "load_config": {"max_model_len": 16384},
            "is_config_temporary": True,
            "defaults": {"max_tokens": 1024},
            "notes": None,
            "adapters": ["pirate"],
        }
    ],
    "memory": {
        "ram": {"budget_bytes": 24000000000, "budget_mb": 24000, "used_bytes": 4400000000, "used_mb": 4400},
    },
    "max_models": None,
    "registry": "/etc/modelhost/models.yaml",
    "registry_error": None,
}
ONE: Final[Example] = {"model_id": "qwen"}
INFO: Final[Example] = {
    "model_id": "qwen",
    "name": "qwen",
    "status": "loaded",
    "state": "ready",
    "engine": "llamacpp",
    "aliases": ["Qwen/Qwen3-4B-GGUF"],
    "notes": None,
    "last_error": None,
    "adapters": ["pirate"],
    "config": {
        "context_window": 16384,
        "max_tokens": 1024,
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "dtype": None,
        "quantization": "Q4_K_M",
        "load_config": {"max_model_len": 16384},
        "is_config_temporary": True,
        "slots": 4,
        "is_pinned": False,
        "idle_unload_seconds": 600.0,
        "defaults": {"max_tokens": 1024},
    },
    "performance": {
        "memory_usage_mb": 4212,
        "throughput_tokens_per_second": 31.5,
        "latency_ms": 84.2,
        "gpu_utilization": None,
        "in_flight": 0,
        "queue_length": 0,
    },
    "capabilities": {
        "supports_streaming": True,
        "supports_logprobs": True,
        "supports_multiple_choice": True,
        "supports_function_calling": True,
        "supports_embeddings": True,
        "supports_rerank": False,
        "supports_vision": False,
    },
}
LOG: Final[Example] = {"model_id": "qwen", "limit": 100}
LOGS: Final[Example] = {
    "model_id": "qwen",
    "status": "loaded",
    "lines": ["llama_context: n_ctx = 16384"],
    "events": [
        {
            "at": 1767225600.0,
            "kind": "state",
            "model": "qwen",
            "state": "ready",
            "activity": None,
            "progress": None,
            "message": None,
        }
    ],
}
LOAD: Final[Example] = {"model_id": "qwen", "wait": False, "max_model_len": 16384}
LOADING: Final[Example] = {
    "success": True,
    "model_id": "qwen",
    "status": "loading",
    "state": "loading",
    "estimated_load_time": 3.2,
    "memory_required_mb": 4400,
    "memory_required_bytes": {"ram": 4400000000},
    "position": None,
}
UNLOAD: Final[Example] = {"model_id": "qwen", "force": False}
UNLOADING: Final[Example] = {
    "success": True,
    "model_id": "qwen",
    "status": "unloaded",
    "memory_freed_mb": 4212,
    "memory_freed_bytes": {"ram": 4211081216},
}
SELECTION: Final[Example] = {"status": "switching", "model": "qwen", "queue_length": 0}
CONFIG: Final[Example] = {"model_id": "qwen", "config": {"max_tokens": 1024, "temperature": 0.7}}
CONFIGURATION: Final[Example] = {
    "success": True,
    "model_id": "qwen",
    "updated_config": {"max_tokens": 1024, "temperature": 0.7},
}
PULL: Final[Example] = {"model": "Qwen/Qwen3-4B-GGUF:Q4_K_M", "revision": "main"}
PULLED: Final[Example] = {
    "success": True,
    "model": "Qwen/Qwen3-4B-GGUF:Q4_K_M",
    "model_id": "Qwen/Qwen3-4B-GGUF:Q4_K_M",
    "path": "/home/me/.cache/huggingface/hub/models--Qwen--Qwen3-4B-GGUF/snapshots/bc64/Qwen3-4B-Q4_K_M.gguf",
}
