"""The HTTP side of the scripted engine: plain ASGI, for the sake of speed.

It answers llama.cpp's paths in llama.cpp's shapes; embeddings, ranks and tokens are computed from the text itself. In
addition, ``GET /scripted/state`` shows what is in flight, how many requests there were, how many lost their client, and
the last body, so that tests can see what a host did.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from modelhost.engines.scripted.chunks import json_bytes
from modelhost.engines.scripted.generation import Generator
from modelhost.engines.scripted.reply import Rule, read_texts, split_words, text_of_messages
from modelhost.engines.scripted.speech import IMAGE_PATHS, ScriptedImages, ScriptedSpeech
from modelhost.engines.worker.asgi import (
    JSON_TYPE,
    ErrorResponse,
    Receive,
    Scope,
    Send,
    authorization,
    error_body,
    invalid,
    read_body,
    read_json,
    send_answer,
)

GENERATIONS = {
    "/v1/chat/completions": "chat",
    "/chat/completions": "chat",
    "/v1/completions": "completions",
}
TEXT_TYPE = [(b"content-type", b"text/plain; version=0.0.4")]


class ScriptedApp:
    """The ASGI application of one worker. ``config`` is made by :meth:`.engine.Scripted.launch`."""

    def __init__(self, config: Mapping[str, Any], rules: Sequence[Rule]) -> None:
        self._config = config
        self._generator = Generator(config, rules)
        self._speech = ScriptedSpeech(config, rules, self._generator.state)
        self._images = ScriptedImages(config, rules, self._generator.state)
        self._key = f"Bearer {config['api_key']}".encode()
        self._vocabulary = Vocabulary()
        self._gets: dict[str, Callable[[], Any]] = {
            "/health": lambda: {"status": "ok"},
            "/v1/models": self._models,
            "/scripted/state": self._shown_state,
        }
        self._posts: dict[str, Callable[[dict[str, Any]], Any]] = {
            "/v1/embeddings": self._embeddings,
            "/v1/rerank": self._rerank,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._route(scope, receive, send)
        except ErrorResponse as refused:
            await send_answer(send, refused.status, JSON_TYPE, json_bytes(refused.body))

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if path != "/health" and not hmac.compare_digest(authorization(scope), self._key):
            raise ErrorResponse(401, error_body(401, "authentication_error", "Invalid API Key"))
        if method == "GET" and path == "/metrics":
            await send_answer(send, 200, TEXT_TYPE, self._metrics())
        elif method == "GET" and path in self._gets:
            await send_answer(send, 200, JSON_TYPE, json_bytes(self._gets[path]()))
        elif method == "POST" and path in GENERATIONS:
            await self._generator.answer(GENERATIONS[path], read_json(await read_body(receive)), receive, send)
        elif method == "POST" and path == "/v1/audio/speech":
            await self._speech.answer(read_json(await read_body(receive)), receive, send)
        elif method == "POST" and path == "/v1/audio/transcriptions":
            await self._speech.transcribe(await read_body(receive), receive, send)
        elif method == "POST" and path in IMAGE_PATHS:
            await self._images.answer(read_json(await read_body(receive)), receive, send)
        elif method == "POST" and path in self._posts:
            body = read_json(await read_body(receive))
            await send_answer(send, 200, JSON_TYPE, json_bytes(self._posts[path](body)))
        else:
            raise ErrorResponse(404, error_body(404, "not_found_error", "File Not Found"))

    def _embeddings(self, body: dict[str, Any]) -> Any:
        as_base64 = body.get("encoding_format") == "base64"
        return embeddings_answer(self._config["name"], read_texts(body, "input"), as_base64=as_base64)

    def _rerank(self, body: dict[str, Any]) -> Any:
        (query,) = read_texts(body, "query")[:1] or [""]
        return rerank_answer(self._config["name"], query, read_texts(body, "documents"), body.get("top_n"))

    def _tokenize(self, body: dict[str, Any]) -> Any:
        if "messages" in body:
            text = text_of_messages(body["messages"])
        else:
            (text,) = read_texts(body, "content")[:1] or [""]
        tokens: list[Any] = self._vocabulary.encode(text)
        if body.get("with_pieces"):
            tokens = [{"id": token, "piece": self._vocabulary.decode([token])} for token in tokens]
        return {"tokens": tokens}

    def _detokenize(self, body: dict[str, Any]) -> Any:
        try:
            return {"content": self._vocabulary.decode(body.get("tokens") or ())}
        except (LookupError, TypeError) as error:
            raise invalid("'tokens' has to be a list of numbers that /tokenize has given") from error

    def _models(self) -> Any:
        meta = {"n_ctx": self._config["context_length"], "n_params": 0}
        model = {"id": self._config["name"], "object": "model", "owned_by": "scripted", "created": 0, "meta": meta}
        return {"object": "list", "data": [model]}

    def _shown_state(self) -> Any:
        state = self._generator.state
        return {
            "in_flight": state.in_flight,
            "total": state.total,
            "cancelled": state.cancelled,
            "tokens": state.tokens,
            "last_body": state.last_body,
        }

    def _metrics(self) -> bytes:
        state = self._generator.state
        values = {
            "prompt_tokens_total": ("counter", state.prompt_tokens),
            "tokens_predicted_total": ("counter", state.tokens),
            "requests_processing": ("gauge", state.in_flight),
        }
        lines = [f"# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}\n" for name, (kind, value) in values.items()]
        return "".join(lines).encode()


DIMENSIONS = 64


class Vocabulary:
    """Numbers for words in the order of their first use; they do not change while the process runs."""

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
        """Return the text of ``tokens``; raises :class:`LookupError` for an unknown number."""
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
