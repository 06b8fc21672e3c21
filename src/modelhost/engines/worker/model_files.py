"""The configuration files of a model directory that concern generation, read in the same way for every library.

A module of its own: workers whose environment has no NumPy, such as that of mistral.rs, read them too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

OF_THE_MODEL = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
"""Fields of a model's ``generation_config.json`` that are defaults of requests."""


def generation_config(directory: Path) -> dict[str, Any]:
    """Return the content of ``generation_config.json``; empty without one."""
    return _read(directory / "generation_config.json")


def sampling_defaults(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampling defaults in ``generation_config``; OpenAI's apply to the others."""
    given = {name: generation_config[name] for name in OF_THE_MODEL if generation_config.get(name) is not None}
    return {**given, "temperature": 0.0} if generation_config.get("do_sample") is False else given


def end_tokens(of_tokenizer: Iterable[int | None], directory: Path) -> frozenset[int]:
    """Return the tokens that end a text, from the tokenizer and from the configuration files together.

    These often contradict each other: a chat model's ``config.json`` may name the end of a document only.
    """
    found = {token for token in of_tokenizer if token is not None}
    config = _read(directory / "config.json")
    for each in (config, config.get("text_config") or {}, generation_config(directory)):
        value = each.get("eos_token_id") if isinstance(each, Mapping) else None
        found.update([value] if isinstance(value, int) else value or [])
    return frozenset(found)


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    value: dict[str, Any] = json.loads(file.read_bytes())
    return value
