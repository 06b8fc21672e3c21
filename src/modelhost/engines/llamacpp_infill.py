"""``/infill`` of llama.cpp: its request, and its answer in the words of a completion.

Its prompt is made of the tokens for that in the vocabulary of a model (FIM). Of what stands before and after the gap it
takes the ends next to it, as many tokens as three quarters and one quarter of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

DATA: Final = b"data:"
END_OF_EVENT: Final = b"\n\n"
INFILL_NAMES: Final[Mapping[str, str]] = {
    "prompt": "input_prefix",
    "suffix": "input_suffix",
    "files": "input_extra",
    "begun": "prompt",
}
NO_INFILL: Final = "Infill is not supported by this model"
"""How llama.cpp says that a vocabulary lacks the tokens."""
TOLD_AT_THE_END: Final = ("timings", "stop_type", "stopping_word")


def infill_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a completion as ``/infill`` takes it."""
    return {INFILL_NAMES.get(name, name): value for name, value in body.items()}


def completion_events(block: bytes) -> bytes:
    """Return the events of ``block`` as those of a completion."""
    return b"".join(_event(each.strip()) for each in block.split(END_OF_EVENT) if each.strip().startswith(DATA))


def _event(event: bytes) -> bytes:
    told = orjson.loads(event.removeprefix(DATA))
    return DATA + b" " + orjson.dumps(told if "error" in told else _chunk(told)) + END_OF_EVENT


def _chunk(told: Mapping[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "text": told["content"], "finish_reason": None}
    if likely := told.get("completion_probabilities"):
        choice["logprobs"] = {"content": likely}
    chunk: dict[str, Any] = {"object": "text_completion", "choices": [choice]}
    if not told["stop"]:
        return chunk
    choice["finish_reason"] = "length" if told["stop_type"] == "limit" else "stop"
    read, written = told["tokens_evaluated"], told["tokens_predicted"]
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if (timings := told.get("timings")) is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": timings["cache_n"]}
    return {**chunk, "usage": usage, **{name: told[name] for name in TOLD_AT_THE_END if told.get(name)}}
