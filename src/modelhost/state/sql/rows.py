"""The tables within one transaction, with the statements for saved states and the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import orjson
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.engine import Connection

from modelhost.state.history.statements import Statements
from modelhost.state.records import AuditEntry, Removed, SnapshotInfo
from modelhost.state.sql.conversation_rows import ConversationRows
from modelhost.state.sql.decision_rows import DecisionRows
from modelhost.state.sql.key_rows import KeyRows
from modelhost.state.sql.response_rows import ResponseRows
from modelhost.state.sql.session_rows import LeaseRows, SessionRows
from modelhost.state.sql.statements import ConnectionStatements
from modelhost.state.sql.tables import audit, is_postgresql, snapshots

_INFO: Final = tuple(snapshots.c[field.name] for field in fields(SnapshotInfo))
_NEWEST: Final = (snapshots.c.created_at.desc(), snapshots.c.state_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """A saved state in the database, unchecked."""

    info: SnapshotInfo
    content: bytes
    sha256: str


class SnapshotRows:
    """Saved states, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, info: SnapshotInfo, content: bytes, sha256: str, files: Sequence[str]) -> None:
        """Insert a saved state."""
        row = {**asdict(info), "content": content, "sha256": sha256, "files": orjson.dumps(files)}
        self._connection.execute(insert(snapshots), row)

    def newest(self, *, session_id: str | None = None, state_id: str | None = None) -> StoredSnapshot | None:
        """Return the newest matching saved state."""
        wanted = select(*_INFO, snapshots.c.content, snapshots.c.sha256).order_by(*_NEWEST).limit(1)
        if session_id is not None:
            wanted = wanted.where(snapshots.c.session_id == session_id)
        if state_id is not None:
            wanted = wanted.where(snapshots.c.state_id == state_id)
        row = (self._connection.execute(wanted)).one_or_none()
        if row is None:
            return None
        info = dict(row._mapping)
        content, sha256 = info.pop("content"), info.pop("sha256")
        return StoredSnapshot(info=SnapshotInfo(**info), content=content, sha256=sha256)

    def list(self, session_id: str | None) -> tuple[SnapshotInfo, ...]:
        """Return the saved states, the newest first."""
        wanted = select(*_INFO).order_by(*_NEWEST)
        if session_id is not None:
            wanted = wanted.where(snapshots.c.session_id == session_id)
        return tuple(SnapshotInfo(**row._mapping) for row in self._connection.execute(wanted))

    def replace(
        self, old: SnapshotInfo, facts: Mapping[str, Any], content: bytes, sha256: str, files: Sequence[str]
    ) -> Removed:
        """Replace the contents of a saved state; return what that removed."""
        mine = snapshots.c.state_id == old.state_id
        before = (self._connection.execute(select(snapshots.c.files).where(mine))).scalar_one_or_none()
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
        """Delete a saved state, if it exists."""
        gone = delete(snapshots).where(snapshots.c.state_id == state_id)
        row = (self._connection.execute(gone.returning(*_INFO, snapshots.c.files))).one_or_none()
        if row is None:
            return Removed()
        return Removed(
            items=max(1, row.models + row.conversations), bytes=row.size_bytes, files=tuple(orjson.loads(row.files))
        )


_ENTRY: Final = tuple(audit.c[field.name] for field in fields(AuditEntry))
_TEXTS: Final = ("actor", "operation", "outcome", "request_id", "model")


class AuditRows:
    """The audit log, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, entries: Sequence[AuditEntry]) -> None:
        """Insert ``entries``."""
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
        return (self._connection.execute(delete(audit).where(audit.c.at < older_than))).rowcount


def _row(entry: AuditEntry) -> dict[str, Any]:
    row = asdict(entry)
    row["arguments"] = orjson.dumps(entry.arguments, default=str, option=orjson.OPT_NON_STR_KEYS)
    return row | {name: _storable(row[name]) for name in _TEXTS}


def _storable(text: str | None) -> str | None:
    """Return ``text`` without what a database does not accept: it may come from a client."""
    return None if text is None else text.replace("\0", "").encode(errors="replace").decode()


_ONE_AT_A_TIME: Final = 0x6D6F64656C01
"""Identifies our lock among all on a server: "model"."""


class Rows:
    """The tables within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @cached_property
    def sessions(self) -> SessionRows:
        """Sessions and their messages."""
        return SessionRows(self.connection)

    @cached_property
    def leases(self) -> LeaseRows:
        """Leases of sessions."""
        return LeaseRows(self.connection)

    @cached_property
    def snapshots(self) -> SnapshotRows:
        """Saved states."""
        return SnapshotRows(self.connection)

    @cached_property
    def audit(self) -> AuditRows:
        """The audit log."""
        return AuditRows(self.connection)

    @cached_property
    def responses(self) -> ResponseRows:
        """Responses with their items and events."""
        return ResponseRows(self.connection)

    @cached_property
    def conversations(self) -> ConversationRows:
        """Conversations and their items."""
        return ConversationRows(self.connection)

    @cached_property
    def keys(self) -> KeyRows:
        """Keys."""
        return KeyRows(self.connection)

    @cached_property
    def decisions(self) -> DecisionRows:
        """Decisions about calls that need approval."""
        return DecisionRows(self.connection)

    @cached_property
    def statements(self) -> Statements:
        """Statements in plain SQL."""
        return ConnectionStatements(self.connection)

    def check(self) -> None:
        """Execute a statement that changes nothing."""
        self.connection.execute(text("SELECT 1"))

    def one_at_a_time(self) -> None:
        """Serialize this transaction with others that call this.

        For transactions that change sessions without a lease, or many responses: two of them could deadlock.
        """
        if is_postgresql(self.connection):
            self.connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
