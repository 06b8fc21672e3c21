"""The statements about saved states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import orjson
from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from modelhost.state.records import Removed, SnapshotInfo
from modelhost.state.sql.tables import snapshots

_INFO: Final = tuple(snapshots.c[field.name] for field in fields(SnapshotInfo))
_NEWEST: Final = (snapshots.c.created_at.desc(), snapshots.c.state_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """A saved state as it is in the database, unchecked."""

    info: SnapshotInfo
    content: bytes
    sha256: str


class SnapshotRows:
    """Saved states, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, info: SnapshotInfo, content: bytes, sha256: str, files: Sequence[str]) -> None:
        """Store a new one."""
        row = {**asdict(info), "content": content, "sha256": sha256, "files": orjson.dumps(files)}
        self._connection.execute(insert(snapshots), row)

    def newest(self, *, session_id: str | None = None, state_id: str | None = None) -> StoredSnapshot | None:
        """Return the newest one that matches."""
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
        """Return what is saved, the newest first."""
        wanted = select(*_INFO).order_by(*_NEWEST)
        if session_id is not None:
            wanted = wanted.where(snapshots.c.session_id == session_id)
        return tuple(SnapshotInfo(**row._mapping) for row in self._connection.execute(wanted))

    def replace(
        self, old: SnapshotInfo, facts: Mapping[str, Any], content: bytes, sha256: str, files: Sequence[str]
    ) -> Removed:
        """Store other contents under the same id; return what is gone with that."""
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
        """Remove it whole; nothing if it is not there."""
        gone = delete(snapshots).where(snapshots.c.state_id == state_id)
        row = (self._connection.execute(gone.returning(*_INFO, snapshots.c.files))).one_or_none()
        if row is None:
            return Removed()
        return Removed(
            items=max(1, row.models + row.conversations), bytes=row.size_bytes, files=tuple(orjson.loads(row.files))
        )
