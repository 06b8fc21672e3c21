"""What a worker's configuration says to llama.cpp's server, be that in the worker itself or a program beside it.

The configuration is made by :meth:`.engine.LlamaCpp.launch`.
"""

from __future__ import annotations

from typing import Any


def tasks_of(config: dict[str, Any]) -> list[str]:
    """Return what this model can do. A reranker has no text to generate; others may embed besides generating."""
    shared = ["tokenize", "detokenize"]
    if config["pooling"] == "rank":
        return ["rerank", *shared]
    if config["embedding_only"]:
        return ["embeddings", *shared]
    return ["chat", "completions", *(["embeddings"] if config["embeddings"] else []), *shared]


def cache_folder(config: dict[str, Any]) -> str | None:
    """Return where prompt caches are written; ``None`` if there is no place, or the model has no conversations."""
    folder: str | None = config["slot_save_path"] or config.get("folder")
    return folder if "chat" in tasks_of(config) else None


def slot_save_path(config: dict[str, Any]) -> str | None:
    """Return :func:`cache_folder` as llama.cpp takes it, which puts the name of a file right behind it."""
    folder = cache_folder(config)
    return folder.rstrip("/") + "/" if folder else None


def total_context(config: dict[str, Any]) -> int:
    """Return how many tokens all slots hold together."""
    total: int = config["context_length"] * config["slots"]
    return total


def listener_threads(config: dict[str, Any]) -> int:
    """Return how many threads answer requests: each open stream holds one, and requests beyond them wait unseen."""
    threads: int = config["max_in_flight"] + 8
    return threads


def prompt_threads(config: dict[str, Any]) -> int:
    """Return how many threads compute prompts."""
    threads: int = config["threads_batch"] or config["threads"]
    return threads


def speculation_kinds(config: dict[str, Any]) -> list[str]:
    """Return by what answers are guessed ahead, in llama.cpp's words."""
    guessed = [config["speculation"]] if config["speculation"] != "none" else []
    return ["draft-simple", *guessed] if config["draft_path"] is not None else guessed


def encoder_uses_gpu(config: dict[str, Any]) -> bool:
    """Whether images are read on a GPU: where no layer of the model is on one, they are not."""
    return bool(config["gpu_layers"] != 0)
