"""The statements about responses with their items and events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, case, delete, func, insert, literal, or_, select, update

from modelhost import json_text
from modelhost.config.value_types import is_session_id
from modelhost.state import stored_response as stored
from modelhost.state.leases import Holder
from modelhost.state.sql.tables import TableRows, clock, in_parts, response_events, response_items, responses

_HOLDER: Final = tuple(field.name for field in fields(Holder))
_NOBODY: Final = dict.fromkeys((*_HOLDER, "expires_at"))


class ResponseRows(TableRows):
    def put(self, new: stored.NewResponse, holder: Holder | None = None, lease_seconds: float = 0.0) -> None:
        """Insert a response, which ``holder`` is going to make, or which is finished."""
        now = datetime.now(UTC)
        place = new.conversation
        body, own_input = json_text.encode(new.body), json_text.encode(list(new.own_input))
        values = {
            "id": new.id,
            "owner": new.owner,
            "created_at": now,
            "used_at": now,
            "status": new.body["status"],
            "is_background": new.is_background,
            "previous_id": new.previous_id,
            "conversation_id": None if place is None else place.id,
            "conversation_position": None if place is None else place.position,
            "input": own_input,
            "body": body,
            "size_bytes": len(body) + len(own_input),
        }
        if holder is not None:
            values |= asdict(holder) | {"expires_at": clock(self._connection, lease_seconds)}
        self._connection.execute(insert(responses).values(values))
        self._index(new.id, [*new.own_input, *new.body["output"]])

    def get(self, response_id: str, owner: str) -> stored.StoredResponse | None:
        """Return the response, if it is one of ``owner``."""
        wanted = self._select().where(responses.c.id == response_id, responses.c.owner == owner)
        row = self._connection.execute(wanted).one_or_none()
        return None if row is None else _stored(row)

    def chain(self, response_id: str, owner: str) -> tuple[stored.StoredResponse, ...]:
        """Return the response and its predecessors, the oldest first; it ends where one is missing."""
        own = responses.c.owner == owner
        first = select(responses.c.id, responses.c.previous_id, literal(0).label("depth"))
        chain = first.where(responses.c.id == response_id, own).cte("chain", recursive=True)
        before = select(responses.c.id, responses.c.previous_id, chain.c.depth + 1)
        chain = chain.union_all(before.where(responses.c.id == chain.c.previous_id, own))
        joined = self._select().join(chain, chain.c.id == responses.c.id).order_by(chain.c.depth.desc())
        return tuple(map(_stored, self._connection.execute(joined)))

    def _select(self) -> Any:
        expired = responses.c.expires_at <= clock(self._connection)
        return select(responses, case((expired, True), else_=False).label("is_expired"))

    def add(self, response_id: str, holder: Holder, progress: stored.Progress) -> bool:
        """Add to a response that ``holder`` makes; return whether it still does.

        A body with a final status finishes the response.
        """
        written = _written(progress.events)
        grown = _size(written)
        values: dict[str, Any] = {"size_bytes": responses.c.size_bytes + grown}
        if progress.body is not None:
            body = json_text.encode(progress.body)
            size = responses.c.size_bytes + grown + len(body) - func.length(responses.c.body)
            values = {"body": body, "status": progress.body["status"], "size_bytes": size}
            if progress.body["status"] not in stored.UNFINISHED:
                values |= _NOBODY
        held = (responses.c.id == response_id) & (responses.c.nonce == holder.nonce)
        if not self._connection.execute(update(responses).where(held).values(values)).rowcount:
            return False
        self._insert_events(response_id, written)
        if progress.body is not None and progress.body["status"] not in stored.UNFINISHED:
            self._index(response_id, progress.body["output"])
        return True

    def end(self, response_id: str, status: str, *, reason: str | None = None, nonce: str | None = None) -> bool:
        """Finish a response in place of its holder, of that ``nonce`` if it is given; return whether this did it.

        Its output is what its events tell.
        """
        mine = (responses.c.id == response_id) & responses.c.status.in_(stored.UNFINISHED)
        if nonce is not None:
            mine &= responses.c.nonce == nonce
        found = self._connection.execute(select(responses.c.body).where(mine).with_for_update()).scalar_one_or_none()
        if found is None:
            return False
        snapshot = stored.ResponseSnapshot(stored.decoded(found))
        earlier = [stored.decoded(event) for event in self.events(response_id, after=-1)]
        snapshot.add(earlier)
        body = stored.ended(snapshot.body, status, reason)
        events = _written([stored.terminal_event(body, earlier[-1]["sequence_number"] + 1 if earlier else 0)])
        written = json_text.encode(body)
        growth = len(written) - len(found) + _size(events)
        values = {"body": written, "status": status, "size_bytes": responses.c.size_bytes + growth, **_NOBODY}
        self._connection.execute(update(responses).where(responses.c.id == response_id).values(values))
        self._insert_events(response_id, events)
        self._index(response_id, body["output"])
        return True

    def renew(self, ids: Sequence[str], holder: Holder, seconds: float) -> Sequence[str]:
        """Renew the leases of ``holder``; return the responses that it still holds."""
        mine = responses.c.id.in_(ids) & (responses.c.nonce == holder.nonce)
        renewed = update(responses).where(mine).values(expires_at=clock(self._connection, seconds))
        return self._connection.execute(renewed.returning(responses.c.id)).scalars().all()

    def delete(self, response_id: str, owner: str) -> bool:
        gone = delete(responses).where(responses.c.id == response_id, responses.c.owner == owner)
        return bool(self._connection.execute(gone).rowcount)

    def events(self, response_id: str, *, after: int, limit: int | None = None) -> tuple[bytes, ...]:
        """Return events as JSON, those with greater numbers than ``after`` in their order."""
        wanted = select(response_events.c.body).where(
            response_events.c.response_id == response_id, response_events.c.sequence_number > after
        )
        rows = self._connection.execute(wanted.order_by(response_events.c.sequence_number).limit(limit))
        return tuple(rows.scalars().all())

    def items(self, ids: Sequence[str], owner: str) -> dict[str, stored.Item]:
        """Return the items with these ids in responses of ``owner``, by id."""
        found: dict[str, stored.Item] = {}
        wanted_ids = set(ids)
        for part in in_parts(ids):
            wanted = select(responses.c.input, responses.c.body).distinct()
            wanted = wanted.join(response_items, response_items.c.response_id == responses.c.id)
            wanted = wanted.where(response_items.c.item_id.in_(part), responses.c.owner == owner)
            for own_input, body in self._connection.execute(wanted):
                items = [*stored.decoded(own_input), *stored.decoded(body)["output"]]
                found |= {item["id"]: item for item in items if item.get("id") in wanted_ids}
        return found

    def touch(self, ids: Sequence[str]) -> None:
        now = datetime.now(UTC)
        for part in in_parts(ids):
            self._connection.execute(update(responses).where(responses.c.id.in_(part)).values(used_at=now))

    def totals(self) -> tuple[int, int]:
        """Return the number of responses, and their bytes."""
        wanted = select(func.count(), func.coalesce(func.sum(responses.c.size_bytes), 0)).select_from(responses)
        count, size = self._connection.execute(wanted).one()
        return int(count), int(size)

    def unused_since(self, at: datetime) -> Sequence[str]:
        """Return the responses that were last used before ``at``, without those being made."""
        wanted = select(responses.c.id).where(responses.c.used_at < at, self._is_free())
        return self._connection.execute(wanted).scalars().all()

    def by_use(self) -> Iterator[tuple[datetime, str, int]]:
        """Yield when responses were last used, with their ids and bytes, the oldest first; none of those being made."""
        wanted = select(responses.c.used_at, responses.c.id, responses.c.size_bytes).where(self._is_free())
        for row in self._connection.execute(wanted.order_by(responses.c.used_at, responses.c.id)):
            yield row.used_at, row.id, row.size_bytes

    def remove(self, ids: Sequence[str]) -> None:
        """Delete responses, whoever owns them."""
        for part in in_parts(ids):
            self._connection.execute(delete(responses).where(responses.c.id.in_(part)))

    def _is_free(self) -> ColumnElement[bool]:
        return or_(responses.c.expires_at.is_(None), responses.c.expires_at <= clock(self._connection))

    def _insert_events(self, response_id: str, written: Sequence[tuple[int, bytes]]) -> None:
        rows = [{"response_id": response_id, "sequence_number": number, "body": body} for number, body in written]
        if rows:
            self._connection.execute(insert(response_events), rows)

    def _index(self, response_id: str, items: Sequence[stored.Item]) -> None:
        """Have the items of a response found by their ids."""
        known = select(response_items.c.item_id).where(response_items.c.response_id == response_id)
        there = set(self._connection.execute(known).scalars())
        ids = [name for name in stored.item_ids(items) if is_session_id(name) and name not in there]
        if ids:
            rows = [{"item_id": name, "response_id": response_id} for name in ids]
            self._connection.execute(insert(response_items), rows)


def _written(events: Sequence[stored.Item]) -> list[tuple[int, bytes]]:
    return [(event["sequence_number"], json_text.encode(event)) for event in events]


def _size(written: Sequence[tuple[int, bytes]]) -> int:
    return sum(len(body) for _, body in written)


def _stored(row: Row[Any]) -> stored.StoredResponse:
    place = None
    if row.conversation_id is not None:
        place = stored.ConversationPlace(id=row.conversation_id, position=row.conversation_position)
    holder = None if row.nonce is None else Holder(**{name: getattr(row, name) for name in _HOLDER})
    return stored.StoredResponse(
        id=row.id,
        status=row.status,
        created_at=row.created_at,
        used_at=row.used_at,
        is_background=row.is_background,
        previous_id=row.previous_id,
        conversation=place,
        own_input=tuple(stored.decoded(row.input)),
        body=stored.decoded(row.body),
        holder=holder,
        is_expired=row.is_expired,
    )
