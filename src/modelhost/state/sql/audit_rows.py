"""The statements about the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from modelhost.state.records import AuditEntry
from modelhost.state.sql.tables import audit

_ENTRY: Final = tuple(audit.c[field.name] for field in fields(AuditEntry))
_TEXTS: Final = ("actor", "operation", "outcome", "request_id", "model")


class AuditRows:
    """The audit log, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, entries: Sequence[AuditEntry]) -> None:
        """Add ``entries``."""
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
        """Return what matches, the newest first."""
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
        """Remove what is older; return how many entries that were."""
        return (self._connection.execute(delete(audit).where(audit.c.at < older_than))).rowcount


def _row(entry: AuditEntry) -> dict[str, Any]:
    row = asdict(entry)
    row["arguments"] = orjson.dumps(entry.arguments, default=str, option=orjson.OPT_NON_STR_KEYS)
    return row | {name: _storable(row[name]) for name in _TEXTS}


def _storable(text: str | None) -> str | None:
    """What comes from a client may hold what a database takes for no text; the entry is kept all the same."""
    return None if text is None else text.replace("\0", "").encode(errors="replace").decode()
