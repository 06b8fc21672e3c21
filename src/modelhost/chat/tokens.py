"""The tokens of a text or of a prompt, with their texts beside them where those are wanted."""

from __future__ import annotations

from typing import Any, Final

TOKEN_STRS: Final = "token_strs"  # noqa: S105 (no password)


def with_token_strings(answer: dict[str, Any], *, with_pieces: bool) -> dict[str, Any]:
    """Return the answer of an engine with the text of each token.

    ``with_pieces``: the request wants them among the tokens, too, as llama.cpp has it.
    """
    tokens = answer["tokens"]
    if TOKEN_STRS in answer:
        return answer
    ids = tokens if with_pieces else [token["id"] for token in tokens]
    return {**answer, "tokens": ids, TOKEN_STRS: [_text(token["piece"]) for token in tokens]}


def _text(piece: str | list[int]) -> str:
    """Return a piece as text; llama.cpp gives the bytes of one that is a part of a character."""
    return piece if isinstance(piece, str) else bytes(piece).decode(errors="replace")
