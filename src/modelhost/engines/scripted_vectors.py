"""Answers of the scripted engine that are computed from the text itself: embeddings, ranks, tokens."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from modelhost.engines.scripted_reply import split_words

DIMENSIONS = 64


class Vocabulary:
    """Numbers for words, given out as words are met; the same for the life of the process."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._words: list[str] = []

    def encode(self, text: str) -> list[int]:
        for word in split_words(text):
            if word not in self._ids:
                self._ids[word] = len(self._words)
                self._words.append(word)
        return [self._ids[word] for word in split_words(text)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of ``tokens``; raises :class:`LookupError` for a number that was never given out."""
        return "".join(self._words[token] for token in tokens)


def embed(text: str) -> list[float]:
    """Return a unit vector: the sum of one hashed vector per word, so that texts that share words are close."""
    total = [0.0] * DIMENSIONS
    for word in text.lower().split() or [""]:
        digest = hashlib.shake_256(word.encode()).digest(DIMENSIONS)
        total = [have + (byte - 127.5) for have, byte in zip(total, digest, strict=True)]
    length = math.sqrt(sum(value * value for value in total))
    return [value / length for value in total]


def embeddings_answer(model: str, texts: Sequence[str], *, as_base64: bool) -> dict[str, Any]:
    """Return the answer of ``/v1/embeddings``."""
    data = []
    for index, text in enumerate(texts):
        vector: Any = embed(text)
        if as_base64:
            vector = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
        data.append({"embedding": vector, "index": index, "object": "embedding"})
    count = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"model": model, "object": "list", "usage": usage, "data": data}


def rerank_answer(model: str, query: str, documents: Sequence[str], top_n: int | None) -> dict[str, Any]:
    """Return the answer of ``/v1/rerank``: the share of the query's words that a document has, best first."""
    wanted = set(query.lower().split())
    scores = [len(wanted & set(document.lower().split())) / max(1, len(wanted)) for document in documents]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_n]
    count = sum(len(text.split()) for text in (query, *documents))
    return {
        "model": model,
        "object": "list",
        "usage": {"prompt_tokens": count, "total_tokens": count},
        "results": [{"index": index, "relevance_score": scores[index]} for index in order],
    }
