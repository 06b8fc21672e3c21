"""The worker process of one GGUF model: llama.cpp's own HTTP server, started through the ``xllamacpp`` package.

Started as ``python -m modelhost.engines.llamacpp.worker`` (:mod:`modelhost.engines.launch`). The
requests never pass through Python: they go from the host to llama.cpp's C++ listener.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from modelhost.engines.llamacpp.config import (
    cache_folder,
    encoder_uses_gpu,
    engine_version,
    listener_threads,
    prompt_threads,
    slot_save_path,
    speculation_kinds,
    tasks_of,
    total_context,
)
from modelhost.engines.llamacpp.features import LLGUIDANCE, features_in, has_llguidance
from modelhost.engines.worker.process import (
    announce_engine,
    announce_failed,
    announce_ready,
    read_config,
    watch_lifeline,
)

FLASH_ATTENTION = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}


def main() -> None:
    """Load the model, announce the address, wait for the end."""
    config = read_config()
    watch_lifeline()
    announce_engine(is_loaded=False)
    try:
        # Here, not at the top: the lifeline is already watched while this loads 100 MB of native code.
        import xllamacpp  # noqa: PLC0415
    except ImportError as error:
        announce_failed("system_library_missing", _library_advice(str(error)))
        sys.exit(1)
    announce_engine(is_loaded=True)
    params = build_params(xllamacpp, config)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        announce_failed("load_failed", str(error))
        sys.exit(1)
    features = features_in(xllamacpp.get_system_info(), [device["name"] for device in xllamacpp.get_device_info()])
    guided = _guided(xllamacpp, config)
    sees_images, hears_audio = _modalities(server.listening_address, config)
    # An orderly exit of the interpreter while llama.cpp's threads run ends in a segmentation fault.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    announce_ready(
        server.listening_address,
        context_length=config["context_length"],
        slots=config["slots"],
        tasks=tasks_of(config),
        engine_version=engine_version(xllamacpp.__version__, config),
        cache_folder=cache_folder(config),
        chat_stops=config["chat_stops"],
        sees_images=sees_images,
        hears_audio=hears_audio,
        guided=guided,
        features=[*features, *([LLGUIDANCE] if guided else [])],
    )
    threading.Event().wait()


def _modalities(url: str, config: dict[str, Any]) -> tuple[bool | None, bool | None]:
    """Return whether the model sees, and whether it hears."""
    if config["mmproj_path"] is None:
        return False, False
    # Here, not at the top: few models have an encoder, and each millisecond of the imports is one of every load.
    from modelhost.engines.llamacpp.modalities import address_in, modalities_of  # noqa: PLC0415

    found = modalities_of(address_in(url, config), config)
    return found["sees_images"], found["hears_audio"]


def _guided(xllamacpp: Any, config: dict[str, Any]) -> list[str]:
    """Return the tasks for which the worker accepts grammars of llguidance."""
    if not has_llguidance(Path(xllamacpp.xllamacpp.__file__)):
        return []
    return ["completions"] if config["thinks"] else ["chat", "completions"]


def _library_advice(reason: str) -> str:
    """Return how to install the library whose absence made the import fail."""
    if "libgomp" in reason:
        return (
            "llama.cpp needs the system library libgomp.so.1, which is not installed. "
            "Debian and Ubuntu: apt-get install libgomp1; Fedora: dnf install libgomp; Alpine: apk add libgomp."
        )
    if "libstdc++" in reason:
        return "llama.cpp needs the system library libstdc++.so.6. Debian and Ubuntu: apt-get install libstdc++6."
    return f"llama.cpp cannot be loaded: {reason}. Try: pip install --force-reinstall xllamacpp"


def build_params(xllamacpp: Any, config: dict[str, Any]) -> Any:
    """Return llama.cpp's parameters for ``config`` (made by :meth:`.engine.LlamaCpp.launch`)."""
    params = xllamacpp.CommonParams()
    params.model.path = config["path"]
    params.model_alias = {config["name"]}
    params.offline = True
    _set_network(params, config)
    _set_context(xllamacpp, params, config)
    _set_speed(xllamacpp, params, config)
    if config["chat_template"] is not None:
        params.chat_template = config["chat_template"]
    params.use_jinja = True
    params.prefill_assistant = False  # every request states whether its last message is continued
    if config["lora"]:
        params.lora_adapters = [_lora(xllamacpp, path, scale) for path, scale in config["lora"]]
    if config["mmproj_path"] is not None:
        params.mmproj.path = config["mmproj_path"]
        params.mmproj_use_gpu = encoder_uses_gpu(config)
    _set_speculation(xllamacpp, params, config)
    return params


def _set_speculation(xllamacpp: Any, params: Any, config: dict[str, Any]) -> None:
    if config["draft_path"] is not None:
        draft = params.speculative.draft
        draft.mparams.path = config["draft_path"]
        draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = config["threads"]
    if kinds := [kind.upper().replace("-", "_") for kind in speculation_kinds(config)]:
        every = xllamacpp.common_speculative_type
        params.speculative.types = [getattr(every, f"COMMON_SPECULATIVE_TYPE_{kind}") for kind in kinds]


def _set_network(params: Any, config: dict[str, Any]) -> None:
    # llama.cpp takes a host's name that ends in .sock for the path of a Unix socket.
    params.hostnames = [config.get("socket_path") or "127.0.0.1"]
    params.port = 0
    params.api_keys = [config["api_key"]]
    params.ui = False
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.n_threads_http = listener_threads(config)
    params.sse_ping_interval = -1  # the host sends keep-alive comments itself
    params.verbosity = 1


def _set_context(xllamacpp: Any, params: Any, config: dict[str, Any]) -> None:
    params.n_parallel = config["slots"]
    params.n_ctx = total_context(config)
    # One cache for all slots, since with one for each llama.cpp pools only a part of a text's tokens when it evaluates
    # texts of unequal length together. It is large enough for all of them, and no slot may take more than its share:
    # full slots never fail each other's requests.
    params.kv_unified = True
    params.kv_unified_per_slot = config["context_length"]
    params.ctx_shift = False  # it would silently drop the beginning of a long conversation
    kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{config['kv_cache_type'].upper()}")
    params.cache_type_k = params.cache_type_v = kind
    params.cache_prompt = config["enable_prefix_caching"]
    params.cache_ram_mib = config["cache_ram_mib"]
    params.n_cache_reuse = config["n_cache_reuse"]
    params.n_batch = config["batch_size"]
    params.n_ubatch = config["micro_batch_size"]  # as large where embeddings are made: those need their text at once
    params.embedding = config["embeddings"]
    params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{config['pooling'].upper()}")
    if folder := slot_save_path(config):
        params.slot_save_path = folder


def _set_speed(xllamacpp: Any, params: Any, config: dict[str, Any]) -> None:
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = prompt_threads(config)
    if config["pinned_cpus"]:
        for each in (params.cpuparams, params.cpuparams_batch):
            each.cpumask = [cpu in config["pinned_cpus"] for cpu in range(len(each.cpumask))]
            each.mask_valid = each.strict_cpu = True  # strict: one CPU of the mask for each thread
    kind = FLASH_ATTENTION[config["flash_attention"]]
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{kind}")
    _set_gpus(params, config)
    # Mapped into memory, a file that is cut short while the model runs would kill the worker with SIGBUS.
    mode = xllamacpp.llama_load_mode
    params.load_mode = mode.LLAMA_LOAD_MODE_MMAP if config["mmap"] else mode.LLAMA_LOAD_MODE_NONE
    params.check_tensors = config["check_tensors"]
    params.split_mode = getattr(xllamacpp.llama_split_mode, f"LLAMA_SPLIT_MODE_{config['split_mode'].upper()}")


def _set_gpus(params: Any, config: dict[str, Any]) -> None:
    if config["gpu_layers"] is not None:
        params.n_gpu_layers = config["gpu_layers"]
        params.no_op_offload = config["gpu_layers"] == 0  # large prompts would be computed on a GPU all the same
    if split := config["tensor_split"]:
        params.tensor_split = [*map(float, split), *[0.0] * (len(params.tensor_split) - len(split))]
    params.fit_params = False  # the host has decided the context, the slots and what goes to which GPU


def _lora(xllamacpp: Any, path: str, scale: float) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path = path
    adapter.scale = scale
    return adapter


if __name__ == "__main__":
    main()
