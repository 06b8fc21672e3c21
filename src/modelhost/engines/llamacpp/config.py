"""Values of a worker's configuration for llama.cpp's server, in the worker itself or in a ``llama-server``.

The configuration is made by :meth:`.engine.LlamaCpp.launch`.
"""

from __future__ import annotations

from typing import Any


def tasks_of(config: dict[str, Any]) -> list[str]:
    """Return the tasks of this model. A reranker generates no text; other models may also make embeddings."""
    shared = ["tokenize", "detokenize"]
    if config["pooling"] == "rank":
        return ["rerank", *shared]
    if config["embedding_only"]:
        return ["embeddings", *shared]
    return ["chat", "completions", *(["embeddings"] if config["embeddings"] else []), *shared]


def cache_folder(config: dict[str, Any]) -> str | None:
    """Return the folder of prompt caches; ``None`` if there is none, or the model has no conversations."""
    folder: str | None = config["slot_save_path"] or config.get("folder")
    return folder if "chat" in tasks_of(config) else None


def slot_save_path(config: dict[str, Any]) -> str | None:
    """Return :func:`cache_folder` with a final slash: llama.cpp appends the name of a file directly."""
    folder = cache_folder(config)
    return folder.rstrip("/") + "/" if folder else None


def total_context(config: dict[str, Any]) -> int:
    """Return the number of tokens that all slots together can hold."""
    total: int = config["context_length"] * config["slots"]
    return total


def listener_threads(config: dict[str, Any]) -> int:
    """Return how many threads answer requests: each open stream occupies one, and further requests wait."""
    threads: int = config["max_in_flight"] + 8
    return threads


def prompt_threads(config: dict[str, Any]) -> int:
    """Return how many threads compute prompts."""
    threads: int = config["threads_batch"] or config["threads"]
    return threads


def speculation_kinds(config: dict[str, Any]) -> list[str]:
    """Return the kinds of speculative decoding, by llama.cpp's names."""
    guessed = [config["speculation"]] if config["speculation"] != "none" else []
    return ["draft-simple", *guessed] if config["draft_path"] is not None else guessed


def encoder_uses_gpu(config: dict[str, Any]) -> bool:
    """Whether the encoder of images and sound runs on a GPU: only if a layer of the model does."""
    return bool(config["gpu_layers"] != 0)


def engine_version(version: str, config: dict[str, Any]) -> str:
    """Return the version of the library, with the kind of a build that was made for the machine: ``0.5.0 (native)``."""
    return f"{version} ({config['build']})" if config["build"] else version
