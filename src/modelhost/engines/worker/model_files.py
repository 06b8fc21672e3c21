"""What the configuration files of a model directory say of writing, read alike for every library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

OF_THE_MODEL = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
"""What a model's ``generation_config.json`` may decide where a request is silent."""


def generation_config(directory: Path) -> dict[str, Any]:
    """Return how the makers of the model want it to write: ``generation_config.json``, as it is; empty without one."""
    return _read(directory / "generation_config.json")


def sampling_defaults(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a model wants its tokens chosen: as its makers say, else as OpenAI does."""
    given = {name: generation_config[name] for name in OF_THE_MODEL if generation_config.get(name) is not None}
    return {**given, "temperature": 0.0} if generation_config.get("do_sample") is False else given


def end_tokens(of_tokenizer: Iterable[int | None], directory: Path) -> frozenset[int]:
    """Return the tokens that end a text: those of the tokenizer and of the configurations together.

    Directories contradict themselves often: a chat model's ``config.json`` may name the end of a document only.
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
