"""The special tokens of a model, read from its GGUF file or from the files of its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from modelhost.errors import ModelFileInvalid
from modelhost.models.files.gguf_format import ARRAY, CONTROL_TOKEN, MAGIC, UNKNOWN_TOKEN, USER_DEFINED_TOKEN
from modelhost.models.files.gguf_stream import Damaged, HeaderStream

TOKENS: Final = "tokenizer.ggml.tokens"
TYPES: Final = "tokenizer.ggml.token_type"
FOUND_FIRST: Final = frozenset({UNKNOWN_TOKEN, CONTROL_TOKEN, USER_DEFINED_TOKEN})
ALWAYS_CONTROL: Final = frozenset(
    {
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>"),
        *("<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>"),
        *("<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "[e~["),
        "<\uff5cend\u2581of\u2581sentence\uff5c>",  # DeepSeek's
    }
)
"""Ends of an answer, which are control tokens to llama.cpp whatever their type is (``llama_vocab::impl::load``)."""
_ALWAYS_CONTROL: Final = frozenset(name.encode() for name in ALWAYS_CONTROL)


def gguf_special_tokens(path: Path) -> Mapping[str, bool]:
    """Return the names of those in the GGUF file at ``path``, the first part of a model, and which are control tokens.

    Raises:
        ModelFileInvalid: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            tokens, types = _vocabulary(HeaderStream(file, path.stat().st_size))
    except (Damaged, OSError) as error:
        raise ModelFileInvalid(f"{path} cannot be served: {error}", path=str(path)) from error
    found = {
        token: kind
        for token, kind in zip(tokens, types, strict=False)
        if kind in FOUND_FIRST or token in _ALWAYS_CONTROL
    }
    return {
        token.decode("utf-8", errors="replace"): kind != USER_DEFINED_TOKEN or token in _ALWAYS_CONTROL
        for token, kind in found.items()
    }


def _vocabulary(stream: HeaderStream) -> tuple[list[bytes], list[int]]:
    """Return the tokens and the types of as many; without types all are ordinary. What follows them is not read."""
    stream.skip(len(MAGIC) + 4 + 8)  # the version and the number of tensors
    tokens: list[bytes] = []
    types: list[int] = []
    for _ in range(stream.unsigned(8)):
        key, kind = stream.text(), stream.unsigned(4)
        if kind == ARRAY and key == TOKENS:
            tokens = stream.texts()
        elif kind == ARRAY and key == TYPES:
            types = list(stream.integers())
        else:
            stream.value(kind, keep=False)
        if tokens and types:
            break
    return tokens, types or [1] * len(tokens)


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


def directory_special_tokens(directory: Path) -> Mapping[str, bool]:
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


_READERS: Final[Mapping[str, Callable[[bytes], Iterable[AddedToken]]]] = {
    "tokenizer.json": lambda data: _Tokenizer.model_validate_json(data).added_tokens,
    "tokenizer_config.json": _of_config,
    "special_tokens_map.json": _of_names,
    "added_tokens.json": lambda data: [AddedToken(content=name) for name in _NUMBERS.validate_json(data)],
}
