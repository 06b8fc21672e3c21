"""The answers of tasks that generate nothing: tokens, and the vectors of embeddings."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from modelhost.errors import UnsupportedParameter

TOKEN_STRS: Final = "token_strs"  # noqa: S105 (no password)


def with_token_strings(answer: dict[str, Any], *, with_pieces: bool) -> dict[str, Any]:
    """Return the answer of an engine with the text of each token.

    ``with_pieces``: the request also selects llama.cpp's form, with the texts in the list of tokens.
    """
    tokens = answer["tokens"]
    if TOKEN_STRS in answer:
        return answer
    ids = tokens if with_pieces else [token["id"] for token in tokens]
    return {**answer, "tokens": ids, TOKEN_STRS: [_text(token["piece"]) for token in tokens]}


def _text(piece: str | list[int]) -> str:
    """Return a piece as text; llama.cpp sends bytes for a part of a character."""
    return piece if isinstance(piece, str) else bytes(piece).decode(errors="replace")


FLOAT_BYTES: Final = 4


def check_dimensions(model: str, answer: Mapping[str, Any], wanted: int) -> None:
    """Check that the vectors of ``answer`` have ``wanted`` dimensions.

    Raises:
        UnsupportedParameter: they do not. Vectors are never truncated: few models are trained for that.
    """
    for entry in answer["data"]:
        vector = entry["embedding"]
        found = len(base64.b64decode(vector)) // FLOAT_BYTES if isinstance(vector, str) else len(vector)
        if found != wanted:
            raise UnsupportedParameter(
                f"dimensions: the vectors of {model} have {found} numbers, no more and no fewer; leave it out.",
                param="dimensions",
            )
