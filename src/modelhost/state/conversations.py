"""Stored conversations with their items, as OpenAI's Responses API has them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from modelhost.background import log_failures
from modelhost.config.value_types import is_session_id
from modelhost.errors import ConversationNotFound, ItemNotFound
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.retention import Retention, usage_of
from modelhost.state.stored_response import ConversationPlace, Item, ItemPage, StoredConversation, Usage

T = TypeVar("T")

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows


class ConversationStore:
    """The conversations in the database, each one the ``owner``'s who made it: others do not see it.

    Items are known by their ids, which are unique within a conversation: adding one that is there changes nothing.
    Every method raises :class:`DatabaseUnavailable` if the database cannot be used, and those that name a conversation
    :class:`ConversationNotFound` if there is none.
    """

    def __init__(self, database: LazyDatabase, retention: Retention) -> None:
        self._database = database
        self._retention = retention

    async def create(self, owner: str, metadata: Mapping[str, Any], items: Sequence[Item]) -> StoredConversation:
        """Store a conversation with these items; it survives a power failure."""
        conversation_id = f"conv_{secrets.token_hex(16)}"

        def create(rows: Rows) -> tuple[StoredConversation, Usage]:
            made = rows.conversations.create(conversation_id, owner, metadata)
            rows.conversations.append(conversation_id, owner, items)
            return made, usage_of(rows)

        made, usage = await self._database.write(create)
        if self._retention.is_exceeded(usage):
            with log_failures("deleting old responses"):
                await self._retention.apply(conversation_id)
        return made

    async def get(self, conversation_id: str, owner: str) -> StoredConversation:
        _check(conversation_id)
        return _there(
            conversation_id, await self._database.read(lambda rows: rows.conversations.get(conversation_id, owner))
        )

    async def update(self, conversation_id: str, owner: str, metadata: Mapping[str, Any]) -> StoredConversation:
        _check(conversation_id)
        found = await self._database.write(lambda rows: rows.conversations.update(conversation_id, owner, metadata))
        return _there(conversation_id, found)

    async def delete(self, conversation_id: str, owner: str) -> None:
        _check(conversation_id)
        if not await self._database.write(lambda rows: rows.conversations.delete(conversation_id, owner)):
            raise _not_found(conversation_id)

    async def history(self, conversation_id: str, owner: str) -> tuple[ConversationPlace, tuple[Item, ...]]:
        """Return the place after the last item, and all items."""
        _check(conversation_id)

        def read(rows: Rows) -> tuple[ConversationPlace, tuple[Item, ...]]:
            found = _there(conversation_id, rows.conversations.get(conversation_id, owner))
            place = ConversationPlace(id=conversation_id, position=found.next_position)
            return place, rows.conversations.items(conversation_id)

        return await self._database.read(read)

    async def append(self, conversation_id: str, owner: str, items: Sequence[Item]) -> tuple[Item, ...]:
        """Append items, those that it does not hold yet; return them. They survive a power failure."""
        _check(conversation_id)
        return _there(
            conversation_id,
            await self._database.write(lambda rows: rows.conversations.append(conversation_id, owner, items)),
        )

    async def page(
        self, conversation_id: str, owner: str, *, limit: int, is_ascending: bool, after: str | None
    ) -> ItemPage:
        """Return up to ``limit`` items in their order or the newest first, those behind the item ``after``.

        Raises:
            ItemNotFound: it holds no item ``after``.
        """
        _check(conversation_id)

        def read(rows: Rows) -> ItemPage | None:
            _there(conversation_id, rows.conversations.get(conversation_id, owner))
            return rows.conversations.page(conversation_id, limit=limit, is_ascending=is_ascending, after=after)

        found = await self._database.read(read) if after is None or is_session_id(after) else None
        if found is None:
            raise _no_item(conversation_id, after or "", param="after")
        return found

    async def item(self, conversation_id: str, owner: str, item_id: str) -> Item:
        """Return an item; raises ItemNotFound."""
        _check(conversation_id)

        def read(rows: Rows) -> Item | None:
            _there(conversation_id, rows.conversations.get(conversation_id, owner))
            return rows.conversations.item(conversation_id, item_id)

        found = await self._database.read(read) if is_session_id(item_id) else None
        if found is None:
            raise _no_item(conversation_id, item_id)
        return found

    async def remove_item(self, conversation_id: str, owner: str, item_id: str) -> StoredConversation:
        """Delete an item; return its conversation. Raises ItemNotFound."""
        _check(conversation_id)

        def remove(rows: Rows) -> tuple[StoredConversation, bool]:
            found = _there(conversation_id, rows.conversations.get(conversation_id, owner))
            return found, is_session_id(item_id) and rows.conversations.remove_item(conversation_id, item_id)

        found, is_removed = await self._database.write(remove)
        if not is_removed:
            raise _no_item(conversation_id, item_id)
        return found


def _check(conversation_id: str) -> None:
    if not is_session_id(conversation_id):
        raise _not_found(conversation_id)


def _there(conversation_id: str, found: T | None) -> T:
    if found is None:
        raise _not_found(conversation_id)
    return found


def _not_found(conversation_id: str) -> ConversationNotFound:
    shown = conversation_id[:100]
    return ConversationNotFound(
        f"Conversation with id '{shown}' not found.", param="conversation", conversation_id=shown
    )


def _no_item(conversation_id: str, item_id: str, param: str | None = None) -> ItemNotFound:
    shown = item_id[:100]
    return ItemNotFound(
        f"Item with id '{shown}' not found in conversation '{conversation_id}'.",
        param=param,
        item_id=shown,
        conversation_id=conversation_id,
    )
