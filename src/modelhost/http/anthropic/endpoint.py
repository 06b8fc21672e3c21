"""``POST /v1/messages`` and ``POST /v1/messages/count_tokens``, as Anthropic defines them; signatures of thinking."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost.config.directories import data_directory
from modelhost.http.anthropic.answer import PING, STOP, MessageEvents, WholeMessage
from modelhost.http.anthropic.bodies import CountTokensRequest, MessagesRequest
from modelhost.http.anthropic.errors import anthropic_error, error_block
from modelhost.http.anthropic.parse import chat_request, conversation_of
from modelhost.http.anthropic.paths import COUNT, MESSAGES
from modelhost.http.counting import ESTIMATED, count_tokens
from modelhost.http.edge import REQUEST_ID
from modelhost.http.endpoint import Endpoint, caller_of, with_session
from modelhost.http.exchange import DoorFormat, Exchange
from modelhost.http.validation import checked
from modelhost.persistence.stored_key import StoredKey

if TYPE_CHECKING:
    from modelhost.host import Host

KEY_FILE: Final = "thinking.key"
VERSION: Final = "mh1"
"""The beginning of a signature, so that keys or algorithms can change."""


class Signatures:
    """Signs and verifies thinking blocks, with a key in the data directory that is made when it is first needed.

    A client sends the thinking of earlier answers back. Nobody can put words into the mind of the model with it, and a
    block that was cut or edited does not enter a conversation unnoticed.

    Hosts with the same directory accept each other's blocks. If the key cannot be stored, it lasts as long as the host.
    """

    def __init__(self, data_dir: Path) -> None:
        self._key = StoredKey(data_dir / KEY_FILE)

    def sign(self, thinking: str) -> str:
        digest = hmac.digest(self._key.read(), thinking.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{VERSION}.{base64.urlsafe_b64encode(digest).decode()}"

    def verify(self, thinking: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(thinking).encode(), signature.encode("utf-8", "surrogatepass"))


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
            max_tokens=given.max_tokens,
        )
        await self.generate(exchange, request, caller_of(scope), block=events.block, whole=WholeMessage(events))


class CountTokensEndpoint(AnthropicEndpoint):
    """Counts the tokens of a prompt. It never has a model loaded: without one, the count is an estimate."""

    def __init__(self, host: Host, signatures: Signatures) -> None:
        super().__init__(host, "count_tokens", signatures)

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(CountTokensRequest, body)
        engine = self.host.find(given.model).engine
        is_stable = self.host.settings.stable_prompts
        chat = conversation_of(given, engine, self._signatures.verify, is_stable=is_stable)
        counted = await count_tokens(self.host, chat, caller_of(scope))
        answer = {"input_tokens": counted.tokens}
        if counted.is_estimated:
            exchange.add_note(ESTIMATED)
            answer[ESTIMATED] = True
        await exchange.answer_json(answer)


def anthropic_app(host: Host) -> ASGIApp:
    """Return an application for the paths of :mod:`modelhost.http.anthropic.paths`."""
    signatures = Signatures(data_directory(host.settings))
    endpoints = {MESSAGES: MessagesEndpoint(host, signatures), COUNT: CountTokensEndpoint(host, signatures)}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoints[scope["path"]](scope, receive, send)

    return app
