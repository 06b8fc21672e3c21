"""The tables within one transaction, with the statements for all but sessions, responses and conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.engine import Connection

from modelhost import json_text
from modelhost.state.records import AuditEntry, Removed, SnapshotInfo
from modelhost.state.sql.conversation_rows import ConversationRows
from modelhost.state.sql.response_rows import ResponseRows
from modelhost.state.sql.session_rows import LeaseRows, SessionRows
from modelhost.state.sql.statements import ConnectionStatements
from modelhost.state.sql.tables import TableRows, audit, decisions, insert_for, is_postgresql, keys, snapshots


class KeyRows(TableRows):
    def get(self, name: str) -> bytes | None:
        found: bytes | None = self._connection.execute(
            select(keys.c.secret).where(keys.c.name == name)
        ).scalar_one_or_none()
        return found

    def make(self, name: str, secret: bytes) -> bytes:
        """Store ``secret`` as the key unless there is one; return the key in force."""
        stored = insert_for(self._connection, keys).values(name=name, secret=secret).on_conflict_do_nothing()
        self._connection.execute(stored)
        return self.get(name) or secret


class DecisionRows(TableRows):
    def add(self, name: str) -> bool:
        """Insert a decision; return whether there was none. Another transaction that inserts it is waited for."""
        row = insert_for(self._connection, decisions).values(name=name, taken_at=datetime.now(UTC))
        return bool(self._connection.execute(row.on_conflict_do_nothing()).rowcount)

    def remove(self, names: Sequence[str]) -> None:
        self._connection.execute(delete(decisions).where(decisions.c.name.in_(names)))

    def purge(self, older_than: datetime) -> None:
        self._connection.execute(delete(decisions).where(decisions.c.taken_at < older_than))


_SNAPSHOT_INFO: Final = tuple(snapshots.c[field.name] for field in fields(SnapshotInfo))
_NEWEST_SNAPSHOT: Final = (snapshots.c.created_at.desc(), snapshots.c.state_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """A saved state in the database, unchecked."""

    info: SnapshotInfo
    content: bytes
    sha256: str


class SnapshotRows(TableRows):
    def put(self, info: SnapshotInfo, content: bytes, sha256: str, files: Sequence[str]) -> None:
        row = {**asdict(info), "content": content, "sha256": sha256, "files": orjson.dumps(files)}
        self._connection.execute(insert(snapshots), row)

    def newest(self, *, session_id: str | None = None, state_id: str | None = None) -> StoredSnapshot | None:
        """Return the newest matching saved state."""
        wanted = select(*_SNAPSHOT_INFO, snapshots.c.content, snapshots.c.sha256).order_by(*_NEWEST_SNAPSHOT).limit(1)
        if session_id is not None:
            wanted = wanted.where(snapshots.c.session_id == session_id)
        if state_id is not None:
            wanted = wanted.where(snapshots.c.state_id == state_id)
        row = self._connection.execute(wanted).one_or_none()
        if row is None:
            return None
        info = dict(row._mapping)
        content, sha256 = info.pop("content"), info.pop("sha256")
        return StoredSnapshot(info=SnapshotInfo(**info), content=content, sha256=sha256)

    def list(self, session_id: str | None) -> tuple[SnapshotInfo, ...]:
        """Return the saved states, the newest first."""
        wanted = select(*_SNAPSHOT_INFO).order_by(*_NEWEST_SNAPSHOT)
        if session_id is not None:
            wanted = wanted.where(snapshots.c.session_id == session_id)
        return tuple(SnapshotInfo(**row._mapping) for row in self._connection.execute(wanted))

    def replace(
        self, old: SnapshotInfo, facts: Mapping[str, Any], content: bytes, sha256: str, files: Sequence[str]
    ) -> Removed:
        """Replace the contents of a saved state; return what that removed."""
        mine = snapshots.c.state_id == old.state_id
        before = self._connection.execute(select(snapshots.c.files).where(mine)).scalar_one_or_none()
        if before is None:
            return Removed()
        values = {**facts, "content": content, "sha256": sha256, "files": orjson.dumps(files)}
        self._connection.execute(update(snapshots).where(mine).values(values))
        return Removed(
            items=old.models + old.conversations - facts["models"] - facts["conversations"],
            bytes=old.size_bytes - facts["size_bytes"],
            files=tuple(name for name in orjson.loads(before) if name not in files),
        )

    def remove(self, state_id: str) -> Removed:
        gone = delete(snapshots).where(snapshots.c.state_id == state_id)
        row = self._connection.execute(gone.returning(*_SNAPSHOT_INFO, snapshots.c.files)).one_or_none()
        if row is None:
            return Removed()
        return Removed(
            items=max(1, row.models + row.conversations), bytes=row.size_bytes, files=tuple(orjson.loads(row.files))
        )


_ENTRY: Final = tuple(audit.c[field.name] for field in fields(AuditEntry))
_ENTRY_TEXTS: Final = ("actor", "operation", "outcome", "request_id", "model")


class AuditRows(TableRows):
    def add(self, entries: Sequence[AuditEntry]) -> None:
        self._connection.execute(insert(audit), [_row(entry) for entry in entries])

    def list(
        self,
        *,
        limit: int,
        before: datetime | None,
        operation: str | None,
        actor: str | None,
        outcome: str | None,
    ) -> tuple[AuditEntry, ...]:
        """Return the matching entries, the newest first."""
        wanted = select(*_ENTRY).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit.c.at < before)
        given = {"operation": operation, "actor": actor, "outcome": outcome}
        for name, value in given.items():
            if value is not None:
                wanted = wanted.where(audit.c[name] == value)
        return tuple(
            AuditEntry(**{**row._mapping, "arguments": orjson.loads(row.arguments)})
            for row in self._connection.execute(wanted)
        )

    def purge(self, older_than: datetime) -> int:
        """Delete older entries; return how many there were."""
        return self._connection.execute(delete(audit).where(audit.c.at < older_than)).rowcount


def _row(entry: AuditEntry) -> dict[str, Any]:
    row = asdict(entry)
    row["arguments"] = _arguments(entry.arguments)
    return row | {name: _storable(row[name]) for name in _ENTRY_TEXTS}


def _arguments(given: Mapping[str, Any]) -> bytes:
    """Return arguments as JSON, or only what kind each has, if they are none: an entry must not hold up all others."""
    try:
        return json_text.encode(given, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        return orjson.dumps({_replaced(str(name)): type(value).__name__ for name, value in given.items()})


def _storable(text: str | None) -> str | None:
    """Return ``text`` without what a database does not accept: it may come from a client."""
    return None if text is None else _replaced(text.replace("\0", ""))


def _replaced(text: str) -> str:
    return text.encode(errors="replace").decode()


_ONE_AT_A_TIME: Final = 0x6D6F64656C01
"""Identifies our lock among all on a server: "model"."""


class Rows:
    """The tables within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sessions = SessionRows(connection)
        self.leases = LeaseRows(connection)
        self.snapshots = SnapshotRows(connection)
        self.audit = AuditRows(connection)
        self.responses = ResponseRows(connection)
        self.conversations = ConversationRows(connection)
        self.keys = KeyRows(connection)
        self.decisions = DecisionRows(connection)
        self.statements = ConnectionStatements(connection)

    def check(self) -> None:
        """Execute a statement that changes nothing."""
        self.connection.execute(text("SELECT 1"))

    def one_at_a_time(self) -> None:
        """Serialize this transaction with others that call this.

        For transactions that change sessions without a lease, or many responses: two of them could deadlock.
        """
        if is_postgresql(self.connection):
            self.connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
