"""``POST /api/chat``, ``/api/generate``, ``/api/embed`` and ``/api/embeddings``, as Ollama defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost.exchange.caller import Caller
from modelhost.http.endpoint import caller_of, operator_of, with_session
from modelhost.http.engine_fields import TEMPLATE
from modelhost.http.exchange import Exchange
from modelhost.http.ollama import bodies
from modelhost.http.ollama.answer import AnswerLines, Kind, Stopwatch, WholeAnswer, ended
from modelhost.http.ollama.answering_endpoint import OllamaEndpoint
from modelhost.http.ollama.description import template_of, thinks
from modelhost.http.ollama.embedding import EmbedEndpoint
from modelhost.http.ollama.options import note_unused, seconds_of
from modelhost.http.ollama.parse import chat_request, generate_request
from modelhost.http.ollama.paths import CHAT, EMBED, EMBEDDINGS, GENERATE
from modelhost.http.validation import checked, note_ignored
from modelhost.models.residency.hosted import HostedModel
from modelhost.state.records import check_session_id

if TYPE_CHECKING:
    from modelhost.host import Host


class GenerationEndpoint(OllamaEndpoint):
    """What the endpoints share whose answer is text."""

    kind: Kind

    async def note_thinking(self, given: bodies.ChatRequest | bodies.GenerateRequest, model: HostedModel) -> None:
        """Note that ``think`` has no effect, if the chat wants thinking, and the template of the model has none.

        What is no chat, or its engine cannot be told, is noted where that is known.
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
