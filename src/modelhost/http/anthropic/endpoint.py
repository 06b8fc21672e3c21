"""``POST /v1/messages`` and ``POST /v1/messages/count_tokens``, as Anthropic defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace
from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost.config.directories import data_directory
from modelhost.errors import ToolNotFound
from modelhost.exchange.caller import Caller
from modelhost.exchange.events import Relayed
from modelhost.exchange.messages import MediaPart, Message
from modelhost.exchange.requests import ChatRequest, TokenizeRequest
from modelhost.http.anthropic.answer import PING, STOP, MessageEvents, WholeMessage
from modelhost.http.anthropic.bodies import CountTokensRequest, MessagesRequest
from modelhost.http.anthropic.errors import anthropic_error, error_block
from modelhost.http.anthropic.parse import chat_request, conversation_of
from modelhost.http.anthropic.paths import COUNT, MESSAGES
from modelhost.http.anthropic.thinking import Signatures
from modelhost.http.edge import REQUEST_ID
from modelhost.http.endpoint import Endpoint, caller_of, with_session
from modelhost.http.exchange import DoorFormat, Exchange
from modelhost.http.validation import checked

if TYPE_CHECKING:
    from modelhost.host import Host

ESTIMATED: Final = "estimated"
"""The note of a count that is an estimate, since the model is not loaded; and the field of the answer."""
CHARS_PER_TOKEN: Final = 3.5
TOKENS_PER_MESSAGE: Final = 4
TOKENS_PER_IMAGE: Final = 1_000

FORMAT: Final = DoorFormat(error_answer=anthropic_error, error_block=error_block, end=STOP, keep_alive=PING)


def add_request_id(exchange: Exchange, scope: Scope) -> None:
    """Add the id of the request to the headers, under the name that Anthropic's clients read."""
    exchange.headers.append((b"request-id", scope[REQUEST_ID].encode("latin-1")))


class AnthropicEndpoint(Endpoint):
    """What both endpoints share."""

    def __init__(self, host: Host, operation: str, signatures: Signatures) -> None:
        super().__init__(host, operation, FORMAT)
        self._signatures = signatures

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        add_request_id(exchange, scope)
        await super().work(exchange, scope)


class MessagesEndpoint(AnthropicEndpoint):
    """Answers conversations."""

    def __init__(self, host: Host, signatures: Signatures) -> None:
        super().__init__(host, "messages", signatures)

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(MessagesRequest, with_session(exchange, scope, body))
        request, thinking = chat_request(
            given,
            self.host.find(given.model).engine,
            self._signatures.verify,
            is_stable=self.host.settings.stable_prompts,
            known_servers=self.host.tools.server_names(),
        )
        events = MessageEvents(
            thinking=thinking,
            sign=self._signatures.sign,
            server_of=self._server_of,
            max_tokens=given.max_tokens,
        )
        await self._answer(exchange, request, events, caller_of(scope))

    async def _answer(self, exchange: Exchange, request: ChatRequest, events: MessageEvents, caller: Caller) -> None:
        opened = self.host.open(request, caller, exchange.add_queue_position, is_streamed=request.is_streamed)
        if not request.is_streamed:
            whole = WholeMessage(events)
            async with opened as pieces:
                assert not isinstance(pieces, Relayed)
                async for piece in pieces:
                    whole.add(piece)
            await exchange.answer_json(whole.json())
            return
        async with exchange.event_stream(), opened as pieces:
            assert not isinstance(pieces, Relayed)
            async for piece in pieces:
                if written := events.block(piece):
                    await exchange.write(written)

    def _server_of(self, tool: str) -> str:
        try:
            return self.host.tools.tool(tool).server
        except ToolNotFound:
            return ""  # which the model invented


class CountTokensEndpoint(AnthropicEndpoint):
    """Counts the tokens of a prompt. It never has a model loaded: without one, the count is an estimate."""

    def __init__(self, host: Host, signatures: Signatures) -> None:
        super().__init__(host, "count_tokens", signatures)

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(CountTokensRequest, body)
        model = self.host.find(given.model)
        is_stable = self.host.settings.stable_prompts
        chat = conversation_of(given, model.engine, self._signatures.verify, is_stable=is_stable)
        images = sum(len(message.media) for message in chat.messages)
        text = replace(chat, messages=tuple(map(_without_media, chat.messages)))
        if not self.host.collection.is_loaded(model):
            exchange.add_note(ESTIMATED)
            await exchange.answer_json({"input_tokens": _estimate(text) + images * TOKENS_PER_IMAGE, ESTIMATED: True})
            return
        request = TokenizeRequest(model=given.model, content="", chat=text)
        counted = await self.host.perform("tokenize", request, caller_of(scope))
        answer = {"input_tokens": len(counted["tokens"]) + images * TOKENS_PER_IMAGE}
        if images:
            exchange.add_note(ESTIMATED)
            answer[ESTIMATED] = True
        await exchange.answer_json(answer)


def _without_media(message: Message) -> Message:
    if not message.media:
        return message
    assert isinstance(message.content, tuple)
    return replace(message, content=tuple(part for part in message.content if not isinstance(part, MediaPart)))


def _estimate(chat: ChatRequest) -> int:
    """Return about how many tokens a conversation has, from its length."""
    texts = [message.text for message in chat.messages]
    texts += [f"{call.name}{call.arguments}" for message in chat.messages for call in message.tool_calls or ()]
    texts += [f"{tool.name}{tool.description or ''}{dict(tool.parameters or {})}" for tool in chat.tools or ()]
    return round(sum(map(len, texts)) / CHARS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(chat.messages)


def anthropic_app(host: Host) -> ASGIApp:
    """Return an application for the paths of :mod:`modelhost.http.anthropic.paths`."""
    signatures = Signatures(data_directory(host.settings))
    endpoints = {MESSAGES: MessagesEndpoint(host, signatures), COUNT: CountTokensEndpoint(host, signatures)}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoints[scope["path"]](scope, receive, send)

    return app
