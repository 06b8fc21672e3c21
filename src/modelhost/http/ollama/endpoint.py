"""``POST /api/chat``, ``/api/generate``, ``/api/embed`` and ``/api/embeddings``, as Ollama defines them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost.chat.parsing.fields import MAX_BATCH
from modelhost.errors import ContextLengthExceeded
from modelhost.exchange.caller import Caller
from modelhost.exchange.requests import DetokenizeRequest, EmbeddingsRequest, TokenizeRequest
from modelhost.http.endpoint import caller_of, operator_of, with_session
from modelhost.http.exchange import Exchange
from modelhost.http.ollama import bodies
from modelhost.http.ollama.answer import AnswerLines, Kind, Stopwatch, WholeAnswer, ended
from modelhost.http.ollama.answering_endpoint import OllamaEndpoint
from modelhost.http.ollama.description import template_of, thinks
from modelhost.http.ollama.options import note_unused, seconds_of
from modelhost.http.ollama.parse import chat_request, generate_request
from modelhost.http.ollama.paths import CHAT, EMBED, EMBEDDINGS, GENERATE
from modelhost.http.translation import TEMPLATE
from modelhost.http.validation import checked, note_ignored
from modelhost.models.residency.hosted import HostedModel
from modelhost.state.records import check_session_id

if TYPE_CHECKING:
    from modelhost.host import Host

TRUNCATED: Final = "truncated=input"
"""The note on texts of which only the beginning was embedded."""
SPECIAL_TOKENS: Final = 2
"""What a model puts around a text, at most."""


class EmbedEndpoint(OllamaEndpoint):
    """Turns texts into vectors, by the present path or by the older one for a single text."""

    def __init__(self, host: Host, *, is_single: bool) -> None:
        super().__init__(host, "ollama_embeddings" if is_single else "ollama_embed")
        self._is_single = is_single

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given: bodies.EmbedRequest | bodies.EmbeddingsRequest = (
            checked(bodies.EmbeddingsRequest, body) if self._is_single else checked(bodies.EmbedRequest, body)
        )
        model, name = await self.find(exchange, given)
        stopwatch, seconds = Stopwatch(model), seconds_of(given.keep_alive)
        note_unused(given.options, model, is_generated=False)
        texts = _texts(given)
        if not texts:
            await self.load(model, operator_of(scope))
        embedding = _Embedding(self.host, exchange, name, caller_of(scope))
        with self.kept(model, seconds):
            is_cut = isinstance(given, bodies.EmbeddingsRequest) or given.truncate is not False
            vectors = await embedding.of(texts, is_cut=is_cut)
        if isinstance(given, bodies.EmbeddingsRequest):
            await exchange.answer_json({"embedding": vectors[0] if vectors else []})
            return
        dimensions = int(given.dimensions or 0)
        answer = {"model": given.model or name, "embeddings": [shortened(vector, dimensions) for vector in vectors]}
        await exchange.answer_json({**answer, **stopwatch.total(), "prompt_eval_count": embedding.tokens})


class _Embedding:
    """Embeds the texts of one request."""

    def __init__(self, host: Host, exchange: Exchange, model: str, caller: Caller) -> None:
        self._host = host
        self._exchange = exchange
        self._model = model
        self._caller = caller
        self.tokens = 0

    async def of(self, texts: Sequence[str], *, is_cut: bool) -> list[list[float]]:
        """Return the vectors of ``texts``; with ``is_cut``, those of the beginnings of texts that are too long."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), MAX_BATCH):
            batch = texts[start : start + MAX_BATCH]
            try:
                vectors += await self._embedded(batch)
            except ContextLengthExceeded as error:
                limit = error.details.get("context_length")
                if not is_cut or not isinstance(limit, int):
                    raise
                self._exchange.add_note(TRUNCATED)
                vectors += await self._embedded([await self._beginning(text, limit - SPECIAL_TOKENS) for text in batch])
        return vectors

    async def _embedded(self, texts: Sequence[str]) -> list[list[float]]:
        request = EmbeddingsRequest(model=self._model, inputs=tuple(texts))
        answer = await self._host.perform("embeddings", request, self._caller, self._exchange.add_queue_position)
        self.tokens += (answer.get("usage") or {}).get("prompt_tokens") or 0
        return [entry["embedding"] for entry in sorted(answer["data"], key=lambda entry: entry["index"])]

    async def _beginning(self, text: str, tokens: int) -> str:
        tokenize = TokenizeRequest(model=self._model, content=text, add_special=False)
        found = (await self._host.perform("tokenize", tokenize, self._caller))["tokens"]
        if len(found) <= tokens:
            return text
        detokenize = DetokenizeRequest(model=self._model, tokens=tuple(found[:tokens]))
        beginning: str = (await self._host.perform("detokenize", detokenize, self._caller))["content"]
        return beginning


def _texts(given: bodies.EmbedRequest | bodies.EmbeddingsRequest) -> list[str]:
    if isinstance(given, bodies.EmbeddingsRequest):
        return [given.prompt] if given.prompt else []
    if isinstance(given.input, list):
        return given.input
    return [given.input] if given.input else []


def unit(vector: Sequence[float]) -> list[float]:
    """Return ``vector`` with a length of 1; a vector of zeros stays one."""
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else list(vector)


def shortened(vector: Sequence[float], dimensions: int | None) -> list[float]:
    """Return the first ``dimensions`` numbers of ``vector``, with a length of 1; all, if there are not more."""
    return unit(vector if not dimensions else vector[:dimensions])


class GenerationEndpoint(OllamaEndpoint):
    """What the endpoints share whose answer is text."""

    kind: Kind

    async def note_thinking(self, given: bodies.ChatRequest | bodies.GenerateRequest, model: HostedModel) -> None:
        """Note that ``think`` has no effect, if the chat wants thinking, and the template of the model has none.

        What is no chat, or cannot be passed on to its engine, is noted where that is known.
        """
        is_text = isinstance(given, bodies.GenerateRequest) and (given.raw or given.suffix)
        if not given.think or is_text or TEMPLATE not in model.engine.fields("chat"):
            return
        if model.known is None:
            await self.host.refresh_previews()
        template = template_of(model)
        if template is not None and not thinks(template):
            note_ignored("think")

    async def only_load(
        self, exchange: Exchange, model: HostedModel, name: str, seconds: float | None, caller: Caller
    ) -> None:
        """Answer a request without contents: ``model`` is loaded, or with ``seconds`` of 0 unloaded."""
        if seconds == 0:
            await self.unload(model, caller)
        else:
            await self.load(model, caller)
            self.host.collection.keep(model, seconds)  # the request counts as use, though the model does nothing
        await exchange.answer_json(ended(self.kind, name, "unload" if seconds == 0 else "load"))


class ChatEndpoint(GenerationEndpoint):
    """Answers conversations."""

    kind = "chat"

    def __init__(self, host: Host) -> None:
        super().__init__(host, "ollama_chat")

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(bodies.ChatRequest, with_session(exchange, scope, body))
        model, name = await self.find(exchange, given)
        seconds, shown = seconds_of(given.keep_alive), given.model or name
        note_unused(given.options, model)
        if not given.messages:
            if given.session_id is not None:
                check_session_id(given.session_id)
            await self.only_load(exchange, model, shown, seconds, operator_of(scope))
            return
        await self.note_thinking(given, model)
        request = chat_request(given, name, model.engine)
        lines = AnswerLines(self.kind, shown, Stopwatch(model), shows_thinking=given.think is not False)
        with self.kept(model, seconds):
            await self.generate(exchange, request, caller_of(scope), block=lines.block, whole=WholeAnswer(lines))


class GenerateEndpoint(GenerationEndpoint):
    """Answers single prompts, continues texts and fills in what is between two texts."""

    kind = "generate"

    def __init__(self, host: Host) -> None:
        super().__init__(host, "ollama_generate")

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(bodies.GenerateRequest, body)
        model, name = await self.find(exchange, given)
        seconds, shown = seconds_of(given.keep_alive), given.model or name
        note_unused(given.options, model)
        if not (given.prompt or given.suffix or given.images):
            await self.only_load(exchange, model, shown, seconds, operator_of(scope))
            return
        await self.note_thinking(given, model)
        request = generate_request(given, name, model.engine)
        lines = AnswerLines(self.kind, shown, Stopwatch(model), shows_thinking=given.think is not False)
        with self.kept(model, seconds):
            await self.generate(exchange, request, caller_of(scope), block=lines.block, whole=WholeAnswer(lines))


def ollama_app(host: Host) -> ASGIApp:
    """Return an application for the paths that models answer."""
    endpoints = {
        CHAT: ChatEndpoint(host),
        GENERATE: GenerateEndpoint(host),
        EMBED: EmbedEndpoint(host, is_single=False),
        EMBEDDINGS: EmbedEndpoint(host, is_single=True),
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoints[scope["path"]](scope, receive, send)

    return app
