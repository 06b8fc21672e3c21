"""``/v1/conversations``: conversations with their items, as OpenAI defines them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from modelhost.errors import InvalidRequest
from modelhost.http.endpoint import Endpoint, operator_of
from modelhost.http.exchange import Exchange
from modelhost.http.responses.bodies import Metadata
from modelhost.http.responses.errors import FORMAT
from modelhost.http.responses.item_bodies import GivenItem
from modelhost.http.responses.items import Item, input_items, page_query
from modelhost.http.responses.paths import CONVERSATION, CONVERSATION_ITEM, CONVERSATION_ITEMS, CONVERSATIONS, route_of
from modelhost.http.responses.running import Responses, list_of, storable
from modelhost.http.validation import Lenient, checked
from modelhost.state.stored_response import ItemPage, StoredConversation

MOST_ITEMS: Final = 20
"""Items in one request, as OpenAI limits them."""


class CreateConversation(Lenient):
    """``POST /v1/conversations``."""

    items: Annotated[list[GivenItem], Field(max_length=MOST_ITEMS)] | None = None
    metadata: Metadata | None = None


class UpdateConversation(Lenient):
    """``POST /v1/conversations/{conversation_id}``."""

    metadata: Metadata | None


class CreateItems(Lenient):
    """``POST /v1/conversations/{conversation_id}/items``."""

    items: Annotated[list[GivenItem], Field(min_length=1, max_length=MOST_ITEMS)]


class ConversationEndpoint(Endpoint):
    """What the endpoints share; each is at one path with its methods."""

    def __init__(self, responses: Responses, operation: str) -> None:
        super().__init__(responses.host, operation, FORMAT)
        self.responses = responses
        self.conversations = responses.host.state.conversations

    async def items(self, given: list[Any] | None, scope: Scope) -> Sequence[Item]:
        """Return the items of a body, each with an id.

        Raises:
            InvalidRequest: an id cannot be stored, or is that of two of them.
        """
        wanted: Any = given or []
        items = storable(input_items(wanted, await self.responses.find_items(wanted, operator_of(scope))), "items")
        known: set[str] = set()
        for place, item in enumerate(items):
            if item["id"] in known:
                param = f"items[{place}].id"
                raise InvalidRequest(f"{param}: another item has this id, too.", param=param)
            known.add(item["id"])
        return items


class CreateEndpoint(ConversationEndpoint):
    """Creates a conversation."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        given = checked(CreateConversation, await self.body(exchange, if_empty={}))
        items = await self.items(given.items, scope)
        made = await self.conversations.create(operator_of(scope).key_name, given.metadata or {}, items)
        await exchange.answer_json(shown(made))


class RetrieveEndpoint(ConversationEndpoint):
    """Answers with a conversation."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        await exchange.answer_json(shown(await self.conversations.get(*_whose(scope))))


class UpdateEndpoint(ConversationEndpoint):
    """Replaces the metadata of a conversation."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(UpdateConversation, body)
        await exchange.answer_json(shown(await self.conversations.update(*_whose(scope), given.metadata or {})))


class DeleteEndpoint(ConversationEndpoint):
    """Deletes a conversation with its items; responses that belonged to it stay."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        conversation_id, owner = _whose(scope)
        await self.conversations.delete(conversation_id, owner)
        await exchange.answer_json({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


class AddItemsEndpoint(ConversationEndpoint):
    """Adds items to a conversation."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(CreateItems, body)
        items = await self.items(given.items, scope)
        added = {item["id"]: item for item in await self.conversations.append(*_whose(scope), items)}
        # One that was there stays as it was.
        stored = [added.get(item["id"]) or await self.conversations.item(*_whose(scope), item["id"]) for item in items]
        await exchange.answer_json(list_of(ItemPage(items=tuple(stored), has_more=False)))


class ListItemsEndpoint(ConversationEndpoint):
    """Lists the items of a conversation."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        query = page_query(QueryParams(scope["query_string"]))
        page = await self.conversations.page(
            *_whose(scope), limit=query.limit, is_ascending=query.is_ascending, after=query.after
        )
        await exchange.answer_json(list_of(page))


class ItemEndpoint(ConversationEndpoint):
    """Answers with one item."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        await exchange.answer_json(await self.conversations.item(*_whose(scope), scope["path_params"]["item_id"]))


class DeleteItemEndpoint(ConversationEndpoint):
    """Deletes one item; answers with its conversation."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        left = await self.conversations.remove_item(*_whose(scope), scope["path_params"]["item_id"])
        await exchange.answer_json(shown(left))


def shown(stored: StoredConversation) -> dict[str, Any]:
    """Return a conversation in OpenAI's form."""
    return {
        "id": stored.id,
        "object": "conversation",
        "created_at": int(stored.created_at.timestamp()),
        "metadata": dict(stored.metadata),
    }


def conversation_routes(responses: Responses) -> list[BaseRoute]:
    return [
        Route(CONVERSATIONS, CreateEndpoint(responses, "create_conversation"), methods=["POST"]),
        Route(CONVERSATION, RetrieveEndpoint(responses, "conversation"), methods=["GET"]),
        Route(CONVERSATION, UpdateEndpoint(responses, "update_conversation"), methods=["POST"]),
        Route(CONVERSATION, DeleteEndpoint(responses, "delete_conversation"), methods=["DELETE"]),
        Route(CONVERSATION_ITEMS, ListItemsEndpoint(responses, "conversation_items"), methods=["GET"]),
        Route(CONVERSATION_ITEMS, AddItemsEndpoint(responses, "add_conversation_items"), methods=["POST"]),
        Route(route_of(CONVERSATION_ITEM), ItemEndpoint(responses, "conversation_item"), methods=["GET"]),
        Route(
            route_of(CONVERSATION_ITEM), DeleteItemEndpoint(responses, "delete_conversation_item"), methods=["DELETE"]
        ),
    ]


def _whose(scope: Scope) -> tuple[str, str]:
    """Return the id of the conversation, and whose it has to be."""
    return scope["path_params"]["conversation_id"], operator_of(scope).key_name
