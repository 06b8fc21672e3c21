"""Saved states: the state of a host at one moment."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from modelhost import lazy
from modelhost.errors import StateDamaged, StateNotFound
from modelhost.logs import get_logger
from modelhost.state.documents import SCHEMA_VERSION, SnapshotDocument
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.records import Removed, SnapshotInfo, check_session_id

if TYPE_CHECKING:
    from modelhost.state.packing import Packed
    from modelhost.state.sql.rows import Rows, StoredSnapshot

_log = get_logger(__name__)


class SnapshotStore:
    """The saved states in the database.

    Every method raises :class:`DatabaseUnavailable` if the database cannot be used. Slow work on large states runs in a
    thread.
    """

    def __init__(self, database: LazyDatabase) -> None:
        self._database = database

    async def save(self, session_id: str, document: SnapshotDocument, *, compression: bool) -> SnapshotInfo:
        """Save ``document`` under the label ``session_id``, beside earlier states of that label.

        Raises:
            InvalidRequest: this cannot be a label.
        """
        check_session_id(session_id)
        packed = await _packed(document, compression=compression)
        info = SnapshotInfo(
            state_id=f"state-{secrets.token_hex(6)}",
            session_id=session_id,
            created_at=datetime.now(UTC),
            **_facts(document, packed),
        )
        await self._database.write(
            lambda rows: rows.snapshots.put(info, packed.content, packed.sha256, _files(document))
        )
        return info

    async def load(
        self, *, session_id: str | None = None, state_id: str | None = None
    ) -> tuple[SnapshotInfo, SnapshotDocument]:
        """Return the newest saved state that matches, or the newest of all.

        Raises:
            StateNotFound: none matches.
            StateDamaged: it is damaged, or a newer version saved it.
        """
        stored = await self._database.read(lambda rows: rows.snapshots.newest(session_id=session_id, state_id=state_id))
        if stored is None:
            raise _not_found(session_id, state_id)
        return stored.info, await _unpacked(stored)

    async def list(self, session_id: str | None = None) -> tuple[SnapshotInfo, ...]:
        """Return the saved states, the newest first."""
        return await self._database.read(lambda rows: rows.snapshots.list(session_id))

    async def clear(
        self,
        *,
        session_id: str | None = None,
        older_than: datetime | None = None,
        include_models: bool = True,
        include_conversations: bool = True,
    ) -> Removed:
        """Remove models, conversations or both from the matching saved states; with both the states are deleted.

        A state that is empty afterwards is deleted, and so is a damaged one. ``items`` counts the models and
        conversations, and one for a deleted state without either. ``files`` are the removed prompt caches. A state
        of a newer version is only deleted whole.
        """
        if not include_models and not include_conversations:
            return Removed()
        removed = Removed()
        for info in await self.list(session_id):
            if older_than is not None and info.created_at >= older_than:
                continue
            if include_models and include_conversations:
                removed += await self._database.write(partial(_remove, info.state_id))
            elif (include_models and info.models) or (include_conversations and info.conversations):
                removed += await self._strip(info.state_id, with_models=not include_models)
        return removed

    async def _strip(self, state_id: str, *, with_models: bool) -> Removed:
        """Keep only the models (or only the conversations) of a saved state; return what was removed."""
        stored = await self._database.read(lambda rows: rows.snapshots.newest(state_id=state_id))
        if stored is None:
            return Removed()
        if stored.info.schema_version > SCHEMA_VERSION:
            _log.warning("newer_state_not_cleared", state_id=state_id, schema_version=stored.info.schema_version)
            return Removed()
        try:
            document = await _unpacked(stored)
        except StateDamaged:
            document = SnapshotDocument()
        changes: dict[str, Any] = {"conversations": (), "prompt_caches": ()} if with_models else {"models": ()}
        left = document.model_copy(update=changes)
        if not left.models and not left.conversations:
            return await self._database.write(partial(_remove, state_id))
        packed = await _packed(left, compression=stored.info.compression == "zstd")
        facts = _facts(left, packed)
        return await self._database.write(
            lambda rows: rows.snapshots.replace(stored.info, facts, packed.content, packed.sha256, _files(left))
        )


def _remove(state_id: str, rows: Rows) -> Removed:
    return rows.snapshots.remove(state_id)


def _facts(document: SnapshotDocument, packed: Packed) -> dict[str, Any]:
    return {
        "size_bytes": len(packed.content) + sum(cache.size_bytes for cache in document.prompt_caches),
        "schema_version": document.schema_version,
        "compression": packed.compression,
        "models": len(document.models),
        "conversations": len(document.conversations),
        "configurations": sum(1 for model in document.models if model.config),
        "has_metrics": document.metrics is not None,
    }


def _files(document: SnapshotDocument) -> tuple[str, ...]:
    return tuple(cache.file for cache in document.prompt_caches)


async def _packed(document: SnapshotDocument, *, compression: bool) -> Packed:
    return await asyncio.to_thread(lambda: lazy.state_packing.pack(document, compression=compression))


async def _unpacked(stored: StoredSnapshot) -> SnapshotDocument:
    """Return the contents; raise :class:`StateDamaged` if they are damaged, or of a newer version."""
    info = stored.info
    if info.schema_version > SCHEMA_VERSION:
        raise StateDamaged(
            f"{info.state_id} was saved by a newer version of modelhost (schema {info.schema_version}; this one knows "
            f"{SCHEMA_VERSION}). Load it with that version.",
            state_id=info.state_id,
        )
    try:
        return await asyncio.to_thread(
            lambda: lazy.state_packing.unpack(stored.content, compression=info.compression, sha256=stored.sha256)
        )
    except ValueError as error:
        raise StateDamaged(
            f"{info.state_id} is damaged ({error}): nothing of it was restored. Load another one; "
            "`modelhost state list` lists the saved states.",
            state_id=info.state_id,
        ) from error


def _not_found(session_id: str | None, state_id: str | None) -> StateNotFound:
    wanted = " and ".join(
        [
            *([f'with the id "{state_id}"'] if state_id is not None else []),
            *([f'of the session "{session_id}"'] if session_id is not None else []),
        ]
    )
    return StateNotFound(
        f"There is no saved state{' ' if wanted else ''}{wanted}. `modelhost state list` lists the saved states.",
        session_id=session_id,
        state_id=state_id,
    )
