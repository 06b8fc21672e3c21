"""What is stored: responses are retrieved, followed, cancelled and deleted; conversations are compacted and kept."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Any, Final, get_args

from starlette.datastructures import QueryParams
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Scope

from modelhost.errors import InvalidRequest
from modelhost.exchange.sse import DONE_EVENT
from modelhost.http.endpoint import Endpoint, operator_of
from modelhost.http.exchange import Exchange
from modelhost.http.responses.bodies import CountInputTokens, Included
from modelhost.http.responses.compaction import COMPACTED, compacted, summarizing, text_of
from modelhost.http.responses.conversations import conversation_routes
from modelhost.http.responses.errors import FORMAT, error_block, failure_answer
from modelhost.http.responses.items import Event, Item, input_items, new_id, page_query
from modelhost.http.responses.parse import ParsedResponse, conversation_of
from modelhost.http.responses.paths import CANCEL, COMPACT, INPUT_ITEMS, RESPONSE
from modelhost.http.responses.running import Responses, list_of
from modelhost.http.responses.writing import BlockWriter, Delivery, EventGroups, response_events
from modelhost.http.validation import checked

INCLUDED: Final = frozenset(get_args(Included))
TRUE: Final = frozenset({"true", "1"})
FALSE: Final = frozenset({"false", "0", ""})


class StoredEndpoint(Endpoint):
    """What the endpoints share."""

    def __init__(self, responses: Responses, operation: str) -> None:
        super().__init__(responses.host, operation, FORMAT)
        self.responses = responses


class RetrieveEndpoint(StoredEndpoint):
    """Answers with a response, or with its events from a number on, until it is finished."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        query, caller = QueryParams(scope["query_string"]), operator_of(scope)
        response_id = scope["path_params"]["response_id"]
        after = _number(query, "starting_after")
        _check_included(query)
        if not _flag(query, "stream"):
            await exchange.answer_json(await self.responses.retrieve(response_id, caller))
            return
        last = -1 if after is None else after
        events = self.responses.tail(response_id, caller, last)
        async with exchange.until_disconnected(), aclosing(events):
            await send_events(exchange, events, last + 1)


async def send_events(exchange: Exchange, events: EventGroups, next_number: int = 0) -> None:
    """Answer with ``events``, of which the first one has the number ``next_number``, as has an error before it."""
    last: Event = {"sequence_number": next_number - 1}
    exchange.error_block = lambda error: error_block(error, last["sequence_number"] + 1)
    block = BlockWriter().block
    async with exchange.event_stream():
        async for group in events:
            last = group[-1]
            await exchange.write(block(group))
        await exchange.write(DONE_EVENT)


class DeleteEndpoint(StoredEndpoint):
    """Deletes a response."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        deleted = await self.responses.delete(scope["path_params"]["response_id"], operator_of(scope))
        await exchange.answer_json(deleted)


class CancelEndpoint(StoredEndpoint):
    """Cancels a response that is made in the background."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        cancelled = await self.responses.cancel(scope["path_params"]["response_id"], operator_of(scope))
        await exchange.answer_json(cancelled)


class InputItemsEndpoint(StoredEndpoint):
    """Lists the items that a response answers."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        query = page_query(QueryParams(scope["query_string"]))
        page = await self.responses.input_items(
            scope["path_params"]["response_id"],
            operator_of(scope),
            limit=query.limit,
            is_ascending=query.is_ascending,
            after=query.after,
        )
        await exchange.answer_json(list_of(page))


class CompactRequest(CountInputTokens):
    """``POST /v1/responses/compact``."""

    model: str | None
    """Has to be there, as in OpenAI's API; ``None``: the active model."""
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    service_tier: str | None = None
    image: dict[str, Any] | None = None


class CompactEndpoint(StoredEndpoint):
    """Makes a conversation shorter, with a summary that the model writes."""

    is_of_openai = True

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given, caller = checked(CompactRequest, body), operator_of(scope)
        model = self.host.find(given.model)
        history = await self.responses.history(given.previous_response_id, given.conversation_id, caller)
        find, seal = await self.responses.find_items(given.given_input, caller), await self.responses.seal()
        items = [*history.items, *input_items(given.given_input, find)]
        if not items:
            raise InvalidRequest("input: there is nothing to compact; send items, or name a response.", param="input")
        chat = conversation_of(given, items, self.host, seal.open, given_from=len(history.items))
        parsed = ParsedResponse(request=summarizing(chat), truncates=True)
        made: dict[str, Any] = {}
        delivery = Delivery(caller=caller, on_queued=exchange.add_queue_position, is_streamed=False)
        skeleton: Item = {"id": new_id("resp"), "status": "in_progress", "output": [], "usage": None}
        async with aclosing(response_events(self.host, parsed, skeleton, delivery)) as events:
            async for group in events:
                made = group[-1].get("response", made)
        if made["status"] == "failed":
            await exchange.answer(*failure_answer(made["error"]))
            return
        exchange.model = model.name
        answer = {
            "id": made["id"],
            "object": COMPACTED,
            "created_at": int(time.time()),
            "output": compacted(items, text_of(made), seal.seal),
            "usage": made["usage"],
        }
        await exchange.answer_json(answer)


def stored_app(responses: Responses) -> ASGIApp:
    """Return an application for :data:`modelhost.http.responses.paths.STORED`."""
    routes = [
        Route(COMPACT, CompactEndpoint(responses, "compact"), methods=["POST"]),
        Route(RESPONSE, RetrieveEndpoint(responses, "response"), methods=["GET"]),
        Route(RESPONSE, DeleteEndpoint(responses, "delete_response"), methods=["DELETE"]),
        Route(CANCEL, CancelEndpoint(responses, "cancel_response"), methods=["POST"]),
        Route(INPUT_ITEMS, InputItemsEndpoint(responses, "input_items"), methods=["GET"]),
        *conversation_routes(responses),
    ]
    return Router(routes)


def _check_included(query: QueryParams) -> None:
    """Refuse what no response can include; the rest has no effect, since a response is stored as it was made."""
    for name in [*query.getlist("include"), *query.getlist("include[]")]:
        if name not in INCLUDED:
            raise InvalidRequest(f'include: there is no "{name[:100]}".', param="include")


def _flag(query: QueryParams, name: str) -> bool:
    given = query.get(name, "").lower()
    if given not in TRUE | FALSE:
        raise InvalidRequest(f'{name}: "{given[:40]}" is neither true nor false.', param=name)
    return given in TRUE


def _number(query: QueryParams, name: str) -> int | None:
    given = query.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 16):
        raise InvalidRequest(f"{name}: a whole number, that of an event, is needed.", param=name)
    return int(given)
