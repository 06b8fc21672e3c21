"""``/tokenize`` and ``/detokenize`` for the clients of two servers: llama.cpp's fields and vLLM's, both at once."""

from __future__ import annotations

from typing import Any

from modelhost.http.generating_host import ServedModel


def tokenized(answer: dict[str, Any], model: ServedModel) -> dict[str, Any]:
    """Return the tokens with what vLLM tells besides."""
    return {**answer, "count": len(answer["tokens"]), "max_model_len": model.context_length}


def detokenized(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the text under both names."""
    return {**answer, "prompt": answer["content"]}
