"""Answers with the fields of other servers: ``/infill``, ``/tokenize`` and ``/detokenize`` of llama.cpp and vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import CompletionRequest
from modelhost.exchange.tasks import COUNT

if TYPE_CHECKING:
    from modelhost.models.residency.hosted import HostedModel

LIMIT: Final = "limit"
EOS: Final = "eos"


def filled_in(answer: Mapping[str, Any], request: CompletionRequest) -> dict[str, Any]:
    """Return ``answer``, a completion, in llama.cpp's format, or the fields that ``request`` selects."""
    (choice,) = answer["choices"]
    usage = answer["usage"] or NOTHING
    whole = {
        "index": 0,
        "content": choice["text"],
        "model": answer["model"],
        "stop": True,
        "stop_type": answer.get("stop_type", LIMIT if choice["finish_reason"] == "length" else EOS),
        "stopping_word": answer.get("stopping_word", ""),
        "tokens_evaluated": usage.get("prompt_tokens", 0),
        "tokens_predicted": usage.get("completion_tokens", 0),
        "timings": answer.get("timings") or {},
    }
    wanted = None if request.infill is None else request.infill.answer_fields
    if wanted is None:
        return whole
    found = {path: _at(whole, path) for path in wanted}
    return {path: value for path, value in found.items() if value is not None}


def _at(value: Any, path: str) -> Any:
    return reduce(lambda inner, name: inner.get(name) if isinstance(inner, dict) else None, path.split("/"), value)


def tokenized(answer: dict[str, Any], model: HostedModel) -> dict[str, Any]:
    """Return the tokens with the additional fields of vLLM."""
    return {**answer, COUNT: answer.get(COUNT, len(answer["tokens"])), "max_model_len": model.context_length}


def detokenized(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the text under both names."""
    return {**answer, "prompt": answer["content"]}
