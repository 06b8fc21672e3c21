"""``/tokenize`` and ``/detokenize`` for the clients of two servers: llama.cpp's fields and vLLM's, both at once."""

from __future__ import annotations

from typing import Any

from modelhost.errors import InvalidRequest
from modelhost.models.hosted import HostedModel


def wanted_content(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with the text as ``content`` (llama.cpp), given so or as ``prompt`` (vLLM)."""
    content, prompt = body.get("content"), body.get("prompt")
    if (content is None) == (prompt is None):
        raise InvalidRequest('Give the text as either "content" or "prompt".', param="content")
    rest = {key: value for key, value in body.items() if key != "prompt"}
    return {**rest, "content": content if prompt is None else prompt}


def tokenized(answer: dict[str, Any], model: HostedModel) -> dict[str, Any]:
    """Return the tokens with what vLLM tells besides."""
    return {**answer, "count": len(answer["tokens"]), "max_model_len": model.context_length}


def detokenized(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the text under both names."""
    return {**answer, "prompt": answer["content"]}
