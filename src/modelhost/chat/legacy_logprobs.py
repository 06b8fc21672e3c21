"""Log probabilities of ``/v1/completions`` in the shape OpenAI gave that endpoint, which llama.cpp does not speak.

Shape: https://platform.openai.com/docs/api-reference/completions/object (``logprobs``).
"""

from __future__ import annotations

from typing import Any


class LegacyLogprobs:
    """Rewrites the chunks of one choice; counts the offset of each token in the text."""

    def __init__(self) -> None:
        self._offset = 0

    def rewrite(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return ``chunk`` with the log probabilities of its choices as parallel lists."""
        for choice in chunk["choices"]:
            if choice.get("logprobs"):
                choice["logprobs"] = self._parallel(choice["logprobs"]["content"])
        return chunk

    def _parallel(self, tokens: list[dict[str, Any]]) -> dict[str, list[Any]]:
        lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            lists["tokens"].append(token["token"])
            lists["token_logprobs"].append(token["logprob"])
            lists["top_logprobs"].append({top["token"]: top["logprob"] for top in token.get("top_logprobs", [])})
            lists["text_offset"].append(self._offset)
            self._offset += len(token["token"])
        return lists
