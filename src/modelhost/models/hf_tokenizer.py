"""The tokens of a model directory that its tokenizer finds in a text before all others.

``tokenizer.json`` has them all. A directory without it is read by a tokenizer in Python, from what
``tokenizer_config.json`` and the older ``special_tokens_map.json`` and ``added_tokens.json`` say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from modelhost.errors import ModelFileInvalid


class AddedToken(BaseModel):
    """A token as these files describe it."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    content: str
    special: bool = False


class _Tokenizer(BaseModel):
    """As much of ``tokenizer.json`` as is of use here: its vocabulary becomes no objects of Python."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    added_tokens: list[AddedToken] = Field(default_factory=list)


class _Config(BaseModel):
    """The same of ``tokenizer_config.json``."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    added_tokens_decoder: dict[str, AddedToken] = Field(default_factory=dict)


_NAMED = TypeAdapter(dict[str, Any], config=ConfigDict(defer_build=True))
"""Special tokens by what they are for, among other things: ``bos_token``, ``eos_token`` ..."""
_NUMBERS = TypeAdapter(dict[str, int], config=ConfigDict(defer_build=True))


def special_tokens(directory: Path) -> Mapping[str, bool]:
    """Return the names of those of the model in ``directory``, and which are control tokens.

    Raises:
        ModelFileInvalid: a file is damaged.
    """
    found: dict[str, bool] = {}
    for name, tokens_of in _READERS.items():
        path = directory / name
        if not path.is_file():
            continue
        try:
            for token in tokens_of(path.read_bytes()):
                found[token.content] = found.get(token.content, False) or token.special
        except (OSError, ValidationError) as error:
            reason = f"{path} cannot be read ({type(error).__name__}): download it again"
            raise ModelFileInvalid(reason, path=str(path)) from error
    return found


def _of_tokenizer(data: bytes) -> Iterable[AddedToken]:
    return _Tokenizer.model_validate_json(data).added_tokens


def _of_config(data: bytes) -> Iterable[AddedToken]:
    return [*_Config.model_validate_json(data).added_tokens_decoder.values(), *_of_names(data)]


def _of_names(data: bytes) -> Iterable[AddedToken]:
    """Those with a purpose, each a text or a description, and the list of further ones."""
    values = _NAMED.validate_json(data)
    named = [value for name, value in values.items() if name.endswith("_token")]
    for value in (*named, *(values.get("additional_special_tokens") or ())):
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            yield AddedToken(content=text, special=True)


def _of_numbers(data: bytes) -> Iterable[AddedToken]:
    return [AddedToken(content=name) for name in _NUMBERS.validate_json(data)]


_READERS = {
    "tokenizer.json": _of_tokenizer,
    "tokenizer_config.json": _of_config,
    "special_tokens_map.json": _of_names,
    "added_tokens.json": _of_numbers,
}
