"""The tokens of a GGUF file that a tokenizer finds in a text before all others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from modelhost.errors import ModelFileInvalid
from modelhost.models.gguf_format import ARRAY, CONTROL_TOKEN, MAGIC, UNKNOWN_TOKEN, USER_DEFINED_TOKEN
from modelhost.models.gguf_stream import Damaged, HeaderStream

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


def special_tokens(path: Path) -> Mapping[str, bool]:
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
