"""The engine options of llama.cpp, and the sizes, CPUs and GPUs that follow from them."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.adapters import check_adapters
from modelhost.engines.options import check_options
from modelhost.errors import ConfigError
from modelhost.plurals import counted

NAME: Final = "llamacpp"
FALLBACK_CONTEXT: Final = 4096
LARGEST_BATCH: Final = 2048
MICRO_BATCH: Final = 512
"""llama.cpp's default; larger steps gain little and take memory."""
SMALL_VOCABULARY: Final = 16_384
EMBEDDINGS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "auto": None}
OPTIONS: Final[Mapping[str, Any]] = {
    "cache_ram_mib": 512,  # MiB for the caches of finished conversations, which may be continued
    "n_cache_reuse": 0,  # smallest part of a prompt, in tokens, reused at another position; 0: none
    "embeddings": "auto",  # true, false, or auto: embedding models, and models with a small vocabulary
    "check_tensors": True,  # check weights when they are loaded; weights that are not numbers end the load
    "mmap": True,  # map the file into memory instead of reading it
    "pooling": None,  # how token vectors are combined: none, mean, cls, last, rank; null: as in the file, else mean
    "slot_save_path": None,  # directory of prompt caches; null: the host's own
    "server": None,  # a llama-server that runs the model: its path, or its name on the PATH; null: modelhost's own
    "batch_size": 0,  # tokens of a prompt processed together; 0: the context, up to 2048
    "micro_batch_size": 0,  # tokens computed in one step, which sizes the buffers; 0: up to 512
    "flash_attention": "auto",  # on, off, or auto: if the device supports it
    "threads_batch": 0,  # threads for prompts; 0: as many as for answers
    "pin_threads": True,  # keep each thread on a CPU of its own where there are as many threads as CPUs (Linux)
    "speculation": "none",  # predict tokens from repetitions: ngram-simple, ngram-mod, ngram-map-k
    "tensor_parallel_size": 1,  # GPUs that share the rows of each layer; 1: see pipeline_parallel_size
    "pipeline_parallel_size": 1,  # GPUs that each hold some of the layers; 1: all GPUs
    "enforce_eager": False,  # compute without CUDA graphs
    "enable_prefix_caching": True,  # reuse computed beginnings of prompts, unless a request sets otherwise
}
REFUSED: Final[Mapping[str, str]] = {
    "isq": "llama.cpp does not quantize while it loads; take a file that is quantized already, such as "
    "org/name:Q4_K_M, or a model in safetensors",
}
SPINS: Final = "3000"
"""How often a thread of OpenMP checks whether the others are done before it sleeps until they are.

On an idle machine the others are usually done within that number, while a thread that sleeps at once would be woken
hundreds of times per token. OpenMP's default of 300,000 is no faster there, but keeps a core busy while another program
occupies the core of the thread that it waits for. Figures: docs/performance.md.
"""
CPUS_IN_A_MASK: Final = 512
"""GGML_MAX_N_THREADS of llama.cpp."""
MOST_TOKENS: Final = 1 << 20
"""Of a batch: more than llama.cpp could compute together on any machine."""
BOUNDS: Final[Mapping[str, tuple[int, int | None]]] = {
    "cache_ram_mib": (-1, None),  # -1: no limit
    "n_cache_reuse": (0, None),
    "batch_size": (0, MOST_TOKENS),
    "micro_batch_size": (0, MOST_TOKENS),
    "threads_batch": (0, None),
}
"""The smallest value of each, and the largest one."""
NOT_QUANTIZED: Final = ("f32", "f16", "bf16")
"""Formats of the key-value cache that every kind of attention can read."""
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "pooling": ("none", "mean", "cls", "last", "rank"),
    "flash_attention": ("auto", "on", "off"),
    "speculation": ("none", "ngram-simple", "ngram-mod", "ngram-map-k"),
}


def checked_options(spec: ModelSpec) -> dict[str, Any]:
    """Return all options of ``spec``, with their defaults.

    Raises:
        ConfigError: one is unknown, or not valid, or contradicts another one or a setting.
    """
    options = check_options(NAME, spec.options, OPTIONS, choices=CHOICES, refused=REFUSED)
    for name, (least, most) in BOUNDS.items():
        if options[name] < least:
            raise _refusal(name, f"{options[name]} is below {least}")
        if most is not None and options[name] > most:
            raise _refusal(name, f"{options[name]} is more than {most:,}")
    batch, step = options["batch_size"], options["micro_batch_size"]
    if 0 < batch < step:
        raise _refusal("micro_batch_size", f"a step of {step} tokens is more than the batch_size, which is {batch}")
    if options["flash_attention"] == "off" and spec.kv_cache_type not in NOT_QUANTIZED:
        raise _refusal(
            "flash_attention",
            f"off, and kv_cache_type is {spec.kv_cache_type}: only flash attention reads a quantized cache; leave one "
            "of both out",
        )
    check_adapters(spec, options, known=OPTIONS)
    return options


def check_on_this_machine(options: Mapping[str, Any], cpus: Collection[int]) -> None:
    """Check those of ``options``, which are complete, that depend on the machine.

    Args:
        cpus: those that the process may use (:func:`allowed_cpus`); empty if that is unknown.

    Raises:
        ConfigError: there are more threads than CPUs, or the directory of prompt caches cannot be written to.
    """
    count = len(cpus) or os.cpu_count() or 1
    if options["threads_batch"] > count:
        there = counted(count, "core")
        raise _refusal("threads_batch", f"{options['threads_batch']} is more than the {there} this process may use")
    folder = options["slot_save_path"]
    if folder is not None and not (Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise _refusal("slot_save_path", f"{folder} is no directory that modelhost can write to; make it first")


def _refusal(option: str, problem: str) -> ConfigError:
    return ConfigError(f'engine option "{option}" of llamacpp: {problem}', param="engine_options")


def batch_size(spec: ModelSpec) -> int:
    """Return how many tokens of prompts are processed at once, no more than all slots hold.

    Raises as :func:`checked_options`.
    """
    wanted: int = checked_options(spec)["batch_size"]
    # A multiple of the slots: llama.cpp divides a batch among them, and aborts during the load if there is a remainder.
    slots, context = spec.slots or 1, spec.context_length or FALLBACK_CONTEXT
    size = min(wanted, context * slots) if wanted else min(LARGEST_BATCH, context)
    return math.ceil(size / slots) * slots


def micro_batch_size(spec: ModelSpec) -> int:
    """Return how many tokens are evaluated in one step, which determines the size of the compute buffers.

    For embeddings, a text must be evaluated in one step. Raises as :func:`checked_options`.
    """
    batch, wanted = batch_size(spec), checked_options(spec)["micro_batch_size"]
    return batch if makes_embeddings(spec) else min(batch, wanted or MICRO_BATCH)


def makes_embeddings(spec: ModelSpec) -> bool:
    """Return whether the worker makes embeddings; raises as :func:`checked_options`.

    For these, llama.cpp evaluates a text in one batch and reserves the scores of the whole vocabulary for each token:
    over a gigabyte with 150,000 entries, which a chat model does not need.
    """
    wanted = str(checked_options(spec)["embeddings"]).lower()
    if wanted not in EMBEDDINGS:
        raise ConfigError(
            f'engine option "embeddings" takes true, false or auto, not "{wanted}"', param="engine_options"
        )
    if spec.embedding_only or spec.pooling == "rank":
        return True
    decided = EMBEDDINGS[wanted]
    return (spec.vocab_size or 0) <= SMALL_VOCABULARY if decided is None else decided


def allowed_cpus() -> frozenset[int]:
    """Return the numbers of the CPUs that this process and its workers may use; none where threads cannot be pinned."""
    return frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset()


def pinned_cpus(spec: ModelSpec, allowed: Collection[int]) -> tuple[int, ...]:
    """Return the CPUs, out of those ``allowed``, to which the threads are to be pinned, one to each; empty: to none.

    Threads are pinned only if each of the CPUs gets one: then none is left to which the system could move a thread with
    profit. Without that, beside another program, Linux may leave two threads on one CPU and the program on the other,
    since both CPUs are as busy; each step then takes as long as both threads one after the other, and their spinning.
    Figures: docs/performance.md. Threads beside GPUs are not pinned: one of them has all the work, and those of several
    models would meet on the first CPU. Raises as :func:`checked_options`.
    """
    options = checked_options(spec)
    threads = spec.threads or 1
    uses_gpus = bool(spec.gpus) and spec.gpu_layers != 0
    is_on_each = {threads, options["threads_batch"] or threads} == {len(allowed)}
    if not options["pin_threads"] or uses_gpus or threads == 1 or not is_on_each or max(allowed) >= CPUS_IN_A_MASK:
        return ()
    return tuple(sorted(allowed))


def gpu_variables(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that hide all GPUs but those that the model uses, if those are determined.

    A GPU without layers would still be used for large prompts, and its memory with it. Raises as :func:`gpus_used`.
    """
    used = gpus_used(options, spec.gpus)
    if spec.gpu_layers == 0:
        used = ()
    elif spec.gpu_split:
        used = tuple(gpu for gpu, layers in zip(spec.gpus, spec.gpu_split, strict=True) if layers)
    is_split = options["tensor_parallel_size"] > 1 or options["pipeline_parallel_size"] > 1
    is_determined = is_split or spec.gpu_layers == 0 or len(spec.gpu_split) > 1
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, used))} if is_determined else {}


def gpus_used(options: Mapping[str, Any], gpus: tuple[int, ...]) -> tuple[int, ...]:
    """Return those of ``gpus`` that a model with ``options``, which are complete, uses.

    Raises:
        ConfigError: there are too few, or the options contradict each other.
    """
    rows, layers = options["tensor_parallel_size"], options["pipeline_parallel_size"]
    if min(rows, layers) < 1:
        raise ConfigError(
            'engine options "tensor_parallel_size" and "pipeline_parallel_size" of llamacpp: each is 1 or more',
            param="engine_options",
        )
    if rows == layers == 1:
        return gpus
    if problem := split_problem(rows, layers, gpus):
        name = "tensor_parallel_size" if rows > 1 else "pipeline_parallel_size"
        raise ConfigError(f'engine option "{name}" of llamacpp: {problem}', param="engine_options")
    return gpus[: max(rows, layers)]


def split_mode(options: Mapping[str, Any]) -> str:
    """Return llama.cpp's split mode for a model with ``options``."""
    return "row" if options["tensor_parallel_size"] > 1 else "layer"


def split_problem(rows: int, layers: int, gpus: tuple[int, ...]) -> str:
    """Return why a model cannot be split this way; empty if it can."""
    if rows > 1 and layers > 1:
        return "llama.cpp splits a model by rows or by layers, not by both; leave the other one at 1"
    wanted = max(rows, layers)
    if wanted > len(gpus):
        there = f"there are {len(gpus)}" if len(gpus) > 1 else "there is one" if gpus else "there is none"
        return f"it needs {wanted} GPUs that llama.cpp can use, and {there}"
    return ""
