"""``POST /v1/responses`` and ``POST /v1/responses/input_tokens``, as OpenAI defines them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Receive, Scope, Send

from modelhost.errors import ModelhostError
from modelhost.http.counting import ESTIMATED, count_tokens
from modelhost.http.edge import WEB_SOCKET
from modelhost.http.endpoint import Endpoint, operator_of, with_session
from modelhost.http.exchange import Exchange
from modelhost.http.responses.bodies import CountInputTokens, CreateResponse
from modelhost.http.responses.errors import FORMAT, failure_answer, name_as_sent
from modelhost.http.responses.paths import INPUT_TOKENS, RESPONSES
from modelhost.http.responses.preparing import conversation, prepared
from modelhost.http.responses.running import Responses
from modelhost.http.responses.stored import send_events, stored_app
from modelhost.http.responses.websocket import ResponsesSocket
from modelhost.http.responses.writing import Delivery, EventGroup, EventGroups
from modelhost.http.validation import checked

if TYPE_CHECKING:
    from modelhost.host import Host


class ResponsesEndpoint(Endpoint):
    """Creates responses."""

    is_of_openai = True

    def __init__(self, responses: Responses) -> None:
        super().__init__(responses.host, "responses", FORMAT)
        self._responses = responses

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(CreateResponse, with_session(exchange, scope, body))
        delivery = Delivery(
            caller=operator_of(scope), on_queued=exchange.add_queue_position, is_streamed=given.stream is True
        )
        run = await prepared(self._responses, given, delivery)
        if given.background:
            queued = await self._responses.start_background(run)
            if not given.stream:
                await exchange.answer_json(queued)
                return
            events = self._responses.tail(queued["id"], delivery.caller)
        else:
            events = await self._responses.events(run)
        async with aclosing(events):
            await (send_events(exchange, events) if given.stream else _whole(exchange, events))


async def _whole(exchange: Exchange, events: EventGroups) -> None:
    """Answer with the response; one that failed is an error."""
    last: EventGroup = ()
    async for group in events:
        last = group
    response = last[-1]["response"]
    if response["status"] == "failed":
        await exchange.answer(*failure_answer(response["error"]))
    else:
        await exchange.answer_json(response)


class InputTokensEndpoint(Endpoint):
    """Counts the tokens of a prompt. It never has a model loaded: without one, the count is an estimate."""

    is_of_openai = True

    def __init__(self, responses: Responses) -> None:
        super().__init__(responses.host, "input_tokens", FORMAT)
        self._responses = responses

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(CountInputTokens, body)
        caller = operator_of(scope)
        chat = await conversation(self._responses, given, Delivery(caller=caller))
        try:
            counted = await count_tokens(self.host, chat, caller)
        except ModelhostError as error:
            name_as_sent(error)
            raise
        answer = {"object": "response.input_tokens", "input_tokens": counted.tokens}
        if counted.is_estimated:
            exchange.add_note(ESTIMATED)
            answer[ESTIMATED] = True
        await exchange.answer_json(answer)


def responses_app(host: Host, stopping: asyncio.Event) -> ASGIApp:
    """Return an application for the paths of :mod:`modelhost.http.responses.paths`; ``stopping`` ends sockets."""
    responses = Responses(host)
    socket = ResponsesSocket(responses, stopping)
    stored = stored_app(responses)
    endpoints: dict[tuple[str, str], ASGIApp] = {
        ("POST", RESPONSES): ResponsesEndpoint(responses),
        ("POST", INPUT_TOKENS): InputTokensEndpoint(responses),
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == WEB_SOCKET:
            await socket(scope, receive, send)
        else:
            await endpoints.get((scope["method"], scope["path"]), stored)(scope, receive, send)

    return app
