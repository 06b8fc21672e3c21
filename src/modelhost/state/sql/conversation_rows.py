"""The statements about conversations and their items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from modelhost import json_text
from modelhost.state.sql.tables import TableRows, conversation_items, conversations, in_parts
from modelhost.state.stored_response import Item, ItemPage, StoredConversation, decoded


class ConversationRows(TableRows):
    def create(self, conversation_id: str, owner: str, metadata: Mapping[str, Any]) -> StoredConversation:
        """Insert a conversation without items."""
        now, written = datetime.now(UTC), json_text.encode(dict(metadata))
        values = {
            "id": conversation_id,
            "owner": owner,
            "created_at": now,
            "used_at": now,
            "metadata": written,
            "next_position": 0,
            "size_bytes": len(written),
        }
        self._connection.execute(insert(conversations).values(values))
        return StoredConversation(
            id=conversation_id, created_at=now, used_at=now, metadata=dict(metadata), next_position=0
        )

    def get(self, conversation_id: str, owner: str) -> StoredConversation | None:
        """Return the conversation, if it is one of ``owner``."""
        row = self._connection.execute(_own(conversation_id, owner)).one_or_none()
        return None if row is None else _stored(row)

    def update(self, conversation_id: str, owner: str, metadata: Mapping[str, Any]) -> StoredConversation | None:
        """Replace the metadata; return the conversation, if there is one."""
        row = self._connection.execute(_own(conversation_id, owner).with_for_update()).one_or_none()
        if row is None:
            return None
        written = json_text.encode(dict(metadata))
        values = {"metadata": written, "size_bytes": row.size_bytes + len(written) - len(row.metadata)}
        self._connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(values))
        return self.get(conversation_id, owner)

    def append(self, conversation_id: str, owner: str, items: Sequence[Item]) -> tuple[Item, ...] | None:
        """Append items, those that it does not hold yet; return them, or ``None`` without such a conversation."""
        row = self._connection.execute(_own(conversation_id, owner).with_for_update()).one_or_none()
        if row is None:
            return None
        given = {item["id"]: item for item in items}
        known = self._known(conversation_id, list(given))
        new = {name: item for name, item in given.items() if name not in known}
        written = [json_text.encode(item) for item in new.values()]
        rows = [
            {"conversation_id": conversation_id, "position": position, "item_id": name, "body": body}
            for position, (name, body) in enumerate(zip(new, written, strict=True), row.next_position)
        ]
        if rows:
            self._connection.execute(insert(conversation_items), rows)
        values = {
            "used_at": datetime.now(UTC),
            "next_position": row.next_position + len(rows),
            "size_bytes": row.size_bytes + sum(map(len, written)),
        }
        self._connection.execute(update(conversations).where(conversations.c.id == conversation_id).values(values))
        return tuple(new.values())

    def items(self, conversation_id: str, *, before: int | None = None) -> tuple[Item, ...]:
        """Return the items in order; those before that position, if one is given."""
        wanted = select(conversation_items.c.body).where(conversation_items.c.conversation_id == conversation_id)
        if before is not None:
            wanted = wanted.where(conversation_items.c.position < before)
        rows = self._connection.execute(wanted.order_by(conversation_items.c.position))
        return tuple(map(decoded, rows.scalars()))

    def page(self, conversation_id: str, *, limit: int, is_ascending: bool, after: str | None) -> ItemPage | None:
        """Return a page of items; ``None``: it holds no item ``after``."""
        position = conversation_items.c.position
        wanted = select(conversation_items.c.body).where(conversation_items.c.conversation_id == conversation_id)
        if after is not None:
            start = self._position(conversation_id, after)
            if start is None:
                return None
            wanted = wanted.where(position > start if is_ascending else position < start)
        order = position if is_ascending else position.desc()
        found = self._connection.execute(wanted.order_by(order).limit(limit + 1)).scalars().all()
        return ItemPage(items=tuple(map(decoded, found[:limit])), has_more=len(found) > limit)

    def item(self, conversation_id: str, item_id: str) -> Item | None:
        found = self._connection.execute(select(conversation_items.c.body).where(*_item(conversation_id, item_id)))
        body = found.scalar_one_or_none()
        return None if body is None else decoded(body)

    def remove_item(self, conversation_id: str, item_id: str) -> bool:
        gone = delete(conversation_items).where(*_item(conversation_id, item_id))
        size = self._connection.execute(gone.returning(func.length(conversation_items.c.body))).scalar_one_or_none()
        if size is None:
            return False
        smaller = update(conversations).where(conversations.c.id == conversation_id)
        self._connection.execute(smaller.values(size_bytes=conversations.c.size_bytes - size))
        return True

    def delete(self, conversation_id: str, owner: str) -> bool:
        gone = delete(conversations).where(conversations.c.id == conversation_id, conversations.c.owner == owner)
        return bool(self._connection.execute(gone).rowcount)

    def known_items(self, ids: Sequence[str], owner: str) -> dict[str, Item]:
        """Return the items with these ids in conversations of ``owner``, by id."""
        found: dict[str, Item] = {}
        for part in in_parts(ids):
            wanted = select(conversation_items.c.item_id, conversation_items.c.body).join(conversations)
            own = conversation_items.c.item_id.in_(part) & (conversations.c.owner == owner)
            for name, body in self._connection.execute(wanted.where(own)):
                found[name] = decoded(body)
        return found

    def touch(self, conversation_id: str) -> None:
        used = update(conversations).where(conversations.c.id == conversation_id).values(used_at=datetime.now(UTC))
        self._connection.execute(used)

    def totals(self) -> tuple[int, int]:
        """Return the number of conversations, and their bytes."""
        wanted = select(func.count(), func.coalesce(func.sum(conversations.c.size_bytes), 0))
        count, size = self._connection.execute(wanted.select_from(conversations)).one()
        return int(count), int(size)

    def unused_since(self, at: datetime) -> Sequence[str]:
        wanted = select(conversations.c.id).where(conversations.c.used_at < at)
        return self._connection.execute(wanted).scalars().all()

    def by_use(self) -> Iterator[tuple[datetime, str, int]]:
        """Yield when conversations were last used, with their ids and bytes, the oldest first."""
        wanted = select(conversations.c.used_at, conversations.c.id, conversations.c.size_bytes)
        for row in self._connection.execute(wanted.order_by(conversations.c.used_at, conversations.c.id)):
            yield row.used_at, row.id, row.size_bytes

    def remove(self, ids: Sequence[str]) -> None:
        """Delete conversations, whoever owns them."""
        for part in in_parts(ids):
            self._connection.execute(delete(conversations).where(conversations.c.id.in_(part)))

    def _known(self, conversation_id: str, ids: Sequence[str]) -> set[str]:
        known: set[str] = set()
        for part in in_parts(ids):
            wanted = select(conversation_items.c.item_id).where(
                conversation_items.c.conversation_id == conversation_id,
                conversation_items.c.item_id.in_(part),
            )
            known |= set(self._connection.execute(wanted).scalars())
        return known

    def _position(self, conversation_id: str, item_id: str) -> int | None:
        wanted = select(conversation_items.c.position).where(*_item(conversation_id, item_id))
        position: int | None = self._connection.execute(wanted).scalar_one_or_none()
        return position


def _own(conversation_id: str, owner: str) -> Any:
    return select(conversations).where(conversations.c.id == conversation_id, conversations.c.owner == owner)


def _item(conversation_id: str, item_id: str) -> tuple[Any, Any]:
    return conversation_items.c.conversation_id == conversation_id, conversation_items.c.item_id == item_id


def _stored(row: Row[Any]) -> StoredConversation:
    return StoredConversation(
        id=row.id,
        created_at=row.created_at,
        used_at=row.used_at,
        metadata=decoded(row.metadata),
        next_position=row.next_position,
    )
