"""Saved states, on both databases."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelhost.errors import InvalidRequest, StateDamaged, StateNotFound
from modelhost.state import documents, packing
from modelhost.state.documents import SavedConversation, SavedModel, SavedPromptCache, SnapshotDocument
from modelhost.state.records import Removed
from modelhost.state.sql.tables import snapshots
from modelhost.state.store import StateStore

NOW = datetime.now(UTC)


def conversation(name: str, messages: int = 2) -> SavedConversation:
    said = tuple({"role": "user", "content": f"{name} {number} ü\n\0"} for number in range(messages))
    return SavedConversation(session_id=name, created_at=NOW, updated_at=NOW, model="nano", messages=said)


DOCUMENT = SnapshotDocument(
    models=(
        SavedModel(name="nano", is_loaded=True, is_active=True, config={"temperature": 0.5}),
        SavedModel(name="other"),
    ),
    conversations=(conversation("a"), conversation("b")),
    metrics={"modelhost_requests_total": [{"labels": {}, "value": 1.0}]},
    prompt_caches=(
        SavedPromptCache(session_id="a", model="nano", file="a.cache", size_bytes=1, sha256="0", fingerprint="f"),
    ),
)


async def change(store: StateStore, state_id: str, **values: Any) -> None:
    """What an accident, or a newer version, would have done to the database."""
    database = await store.database.get()
    statement = snapshots.update().where(snapshots.c.state_id == state_id).values(**values)
    await database.write(lambda rows: rows.connection.execute(statement) and None)


async def content(store: StateStore, state_id: str) -> bytes:
    database = await store.database.get()
    statement = snapshots.select().where(snapshots.c.state_id == state_id)
    return await database.read(lambda rows: bytes(rows.connection.execute(statement).one().content))


@pytest.mark.parametrize("compression", [True, False])
async def test_what_was_saved_comes_back(store: StateStore, compression: bool) -> None:
    info = await store.snapshots.save("s", DOCUMENT, compression=compression)
    assert await store.snapshots.load(session_id="s") == (info, DOCUMENT)
    assert await store.snapshots.load(state_id=info.state_id) == (info, DOCUMENT)
    assert await store.snapshots.list("s") == (info,)
    assert (info.session_id, info.models, info.conversations, info.configurations) == ("s", 2, 2, 1)
    assert (info.has_metrics, info.schema_version, info.created_at.tzinfo) == (True, 1, UTC)
    assert info.compression == ("zstd" if compression else "none")
    assert info.size_bytes == len(await content(store, info.state_id)) + DOCUMENT.prompt_caches[0].size_bytes
    assert info.state_id.startswith("state-")
    assert len(info.state_id) == len("state-") + 12


async def test_the_newest_is_loaded_unless_another_one_is_named(store: StateStore) -> None:
    old = await store.snapshots.save("s", DOCUMENT, compression=True)
    new = await store.snapshots.save("s", SnapshotDocument(), compression=True)
    other = await store.snapshots.save("t", SnapshotDocument(), compression=True)
    assert (await store.snapshots.load(session_id="s"))[0] == new
    assert (await store.snapshots.load(session_id="s", state_id=old.state_id))[0] == old
    assert (await store.snapshots.load())[0] == other
    assert await store.snapshots.list() == (other, new, old)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"session_id": "nobody"}, 'no saved state of the session "nobody"'),
        ({"state_id": "state-0"}, 'no saved state with the id "state-0"'),
        ({"session_id": "a", "state_id": "b"}, 'with the id "b" and of the session "a"'),
        ({}, "no saved state."),
    ],
)
async def test_what_was_not_saved_is_not_found(store: StateStore, wanted: dict[str, str], words: str) -> None:
    with pytest.raises(StateNotFound, match=words):
        await store.snapshots.load(**wanted)
    with pytest.raises(InvalidRequest, match="1 to 256"):
        await store.snapshots.save("", DOCUMENT, compression=True)


def one_bit(stored: bytes) -> bytes:
    return stored[:50] + bytes([stored[50] ^ 1]) + stored[51:]


@pytest.mark.parametrize("damage", [one_bit, lambda stored: stored[:-1], lambda _: b""])
@pytest.mark.parametrize("compression", [True, False])
async def test_a_damaged_one_is_refused_whole(
    store: StateStore, damage: Callable[[bytes], bytes], compression: bool
) -> None:
    state_id = (await store.snapshots.save("s", DOCUMENT, compression=compression)).state_id
    await change(store, state_id, content=damage(await content(store, state_id)))
    with pytest.raises(StateDamaged, match=f"{state_id} is damaged .its checksum is wrong.: nothing of it"):
        await store.snapshots.load(session_id="s")


@pytest.mark.parametrize(
    ("stored", "compression", "words"),
    [
        (b"", "zstd", "cannot be read"),
        (b"nonsense", "zstd", "cannot be read"),
        (b"[]", "none", "cannot be read"),
        (b"{", "none", "cannot be read"),
        (b'{"who": "somebody else"}', "none", "cannot be read"),
        (b'{}\n{"session_id": "no times"}\n', "none", "cannot be read"),
        (b"{}", "lz4", 'its compression "lz4" is unknown'),
    ],
)
def test_what_pack_did_not_make_is_refused(stored: bytes, compression: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        packing.unpack(stored, compression=compression, sha256=hashlib.sha256(stored).hexdigest())


async def test_one_of_a_newer_version_is_refused_with_that_reason(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = documents.SCHEMA_VERSION + 1
    info = await store.snapshots.save("s", DOCUMENT.model_copy(update={"schema_version": newer}), compression=True)
    with pytest.raises(StateDamaged, match=rf"newer version of modelhost \(schema {newer}; this one knows 1\)"):
        await store.snapshots.load(session_id="s")
    assert await store.snapshots.clear(include_models=False) == Removed()
    assert await store.snapshots.clear() == Removed(items=4, bytes=info.size_bytes, files=("a.cache",))


async def test_conversations_alone_are_taken_out(store: StateStore) -> None:
    info = await store.snapshots.save("s", DOCUMENT, compression=True)
    removed = await store.snapshots.clear(session_id="s", include_models=False)
    left, document = await store.snapshots.load(session_id="s")
    assert document == DOCUMENT.model_copy(update={"conversations": (), "prompt_caches": ()})
    assert removed == Removed(items=2, bytes=info.size_bytes - left.size_bytes, files=("a.cache",))
    assert (left.conversations, left.models, left.created_at) == (0, 2, info.created_at)
    assert await store.snapshots.clear(session_id="s", include_models=False) == Removed()
    assert await store.snapshots.clear(session_id="s", include_conversations=False) == Removed(
        items=2, bytes=left.size_bytes
    )
    assert await store.snapshots.list() == ()


async def test_models_alone_are_taken_out(store: StateStore) -> None:
    await store.snapshots.save("s", DOCUMENT, compression=False)
    assert (await store.snapshots.clear(include_conversations=False)).items == 2
    info, document = await store.snapshots.load(session_id="s")
    assert document == DOCUMENT.model_copy(update={"models": ()})
    assert info.compression == "none"


async def test_only_what_matches_is_cleared(store: StateStore) -> None:
    old = await store.snapshots.save("s", SnapshotDocument(), compression=True)
    new = await store.snapshots.save("s", DOCUMENT, compression=True)
    other = await store.snapshots.save("t", DOCUMENT, compression=True)
    await change(store, old.state_id, created_at=NOW - timedelta(hours=2))
    assert await store.snapshots.clear(include_models=False, include_conversations=False) == Removed()
    assert await store.snapshots.clear(older_than=NOW - timedelta(hours=1)) == Removed(items=1, bytes=old.size_bytes)
    removed = await store.snapshots.clear(session_id="t")
    assert removed == Removed(items=4, bytes=other.size_bytes, files=("a.cache",))
    assert await store.snapshots.list() == (new,)


async def test_a_damaged_one_is_removed_whole(store: StateStore) -> None:
    info = await store.snapshots.save("s", DOCUMENT, compression=True)
    await change(store, info.state_id, content=b"x")
    removed = await store.snapshots.clear(include_models=False)
    assert removed == Removed(items=4, bytes=info.size_bytes, files=("a.cache",))


@pytest.mark.promise("vllm-crush.batch.state")
async def test_the_event_loop_goes_on_while_a_state_is_saved_and_loaded(
    store: StateStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def beside_the_loop(work: Callable[..., Any]) -> Callable[..., Any]:
        """As ``work``, which goes on only when the loop has had a turn meanwhile."""

        def waiting(*args: Any, **more: Any) -> Any:
            turn = threading.Event()
            loop.call_soon_threadsafe(turn.set)
            assert turn.wait(20), "the event loop stands still"
            return work(*args, **more)

        return waiting

    monkeypatch.setattr(packing, "pack", beside_the_loop(packing.pack))
    monkeypatch.setattr(packing, "unpack", beside_the_loop(packing.unpack))
    await store.snapshots.save("s", DOCUMENT, compression=True)
    _, found = await store.snapshots.load(session_id="s")
    assert found == DOCUMENT
    if database_url.startswith("sqlite"):  # PostgreSQL does the work in processes of its own
        database = await store.database.get()
        await database.write(beside_the_loop(lambda _: None))
        await database.read(beside_the_loop(lambda _: None))
