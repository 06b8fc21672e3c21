"""Prompt caches in files, with the real engine: what the next worker need not evaluate again, and what harms none."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.engines.llamacpp.config import cache_folder
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.prompt_caches import SavedCache
from tests.support.nano_engine import NEW_TOKENS, Engine, Messages, conversation, running

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Hello! What is the weather in a place?",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}


def left_in(folder: str) -> list[Path]:
    return list(Path(folder).glob("*.cache"))


async def test_the_next_worker_evaluates_what_is_new_alone(tmp_path: Path) -> None:
    messages, path = conversation("ant"), tmp_path / "caches" / "ant"
    async with running() as engine:
        await engine.talk(messages, "Hello!", "Who are you?", "What is 2+3?")
        saved = await engine.save(messages, path)
    assert saved is not None
    assert saved.tokens > 200
    assert saved.size_bytes == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    async with running() as engine:
        assert await engine.restore(path, saved.fingerprint)
        assert await engine.talk(messages, "Hello!") <= NEW_TOKENS
    async with running() as engine:  # without it, all is new
        assert await engine.talk(messages, "Hello!") > saved.tokens


async def test_others_may_talk_before_it_is_saved_and_after_it_is_restored(tmp_path: Path) -> None:
    async def others(engine: Engine, *names: str) -> None:
        await asyncio.gather(*(engine.talk(conversation(name), "Hello!", "Who are you?") for name in names))

    messages, path = conversation("ant"), tmp_path / "ant"
    async with running() as engine:
        await engine.talk(messages, "Hello!", "Who are you?")
        await others(engine, "bee", "cat")
        saved = await engine.save(messages, path)
    assert saved is not None
    async with running() as engine:
        await others(engine, "dog", "elk")
        assert await engine.restore(path, saved.fingerprint)
        await others(engine, "fox", "gnu", "hen")
        assert await engine.talk(messages, "What is 2+3?") <= NEW_TOKENS


async def test_more_conversations_than_slots_are_saved_and_restored(tmp_path: Path) -> None:
    names = ["ant", "bee", "cat", "dog", "elk", "fox"]
    conversations = {name: conversation(name) for name in names}
    saved: dict[str, SavedCache] = {}
    async with running(slots=2) as engine:
        for name in names:
            await engine.talk(conversations[name], "Hello!")
            found = await engine.save(conversations[name], tmp_path / name)
            assert found is not None
            saved[name] = found
    async with running(slots=2) as engine:
        for name in names:
            assert await engine.restore(tmp_path / name, saved[name].fingerprint)
        for name in names:
            assert await engine.talk(conversations[name], "Who are you?") <= NEW_TOKENS


@pytest.mark.parametrize("slots", [1, 4])
async def test_it_is_the_conversation_itself_that_is_saved_while_others_talk(tmp_path: Path, slots: int) -> None:
    messages, path = conversation("ant"), tmp_path / "ant"
    async with running(slots=slots) as engine:
        await engine.talk(messages, "Hello!", "Who are you?")

        async def chatter() -> None:
            while True:
                await engine.talk(conversation("bee"), "Hello!", "Who are you?")

        talking = [asyncio.create_task(chatter()) for _ in range(2)]
        saved = [await engine.save(messages, path) for _ in range(5)]
        async with asyncio.timeout(60):  # a save fails whenever another conversation takes the slot meanwhile
            while slots > 1 and not any(saved):
                saved.append(await engine.save(messages, path))
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
    last = [each for each in saved if each is not None]
    if slots > 1:
        assert last
    if last:
        async with running() as engine:
            assert await engine.restore(path, last[-1].fingerprint)
            assert await engine.talk(messages, "What is 2+3?") <= NEW_TOKENS


async def test_conversations_that_resemble_each_other_are_not_mixed_up(tmp_path: Path) -> None:
    async with running() as engine:
        longer = conversation("ant")
        await engine.talk(longer, "Hello!", "Who are you?", "Hello!")
        system, turns = longer[:1], longer[1:]
        path = tmp_path / "cache"
        assert await engine.save([*system, *turns[:2]], path) is None  # its beginning
        assert await engine.save([*system, *turns[4:]], path) is None  # its end
        assert await engine.save([*conversation("bee"), *turns], path) is None
        assert await engine.save([*system, *turns, {"role": "user", "content": "And now?"}], path) is None
        assert await engine.save([], path) is None
        assert not path.exists()
        assert await engine.save(longer, path) is not None


async def test_a_conversation_with_tools_is_saved_as_it_was_shown_to_the_model(tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"place": "Rome"}'}}
    messages = [
        *conversation("ant"),
        {"role": "user", "content": "How is the weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 21 degrees"},
    ]
    path = tmp_path / "ant"
    async with running() as engine:
        answer = await engine.answer(messages, tools=[TOOL])
        messages.append(answer["choices"][0]["message"])
        saved = await engine.save(messages, path)
    assert saved is not None
    async with running() as engine:
        assert await engine.restore(path, saved.fingerprint)
        assert await engine.talk(messages, "Hello!", tools=[TOOL]) <= NEW_TOKENS


@pytest.fixture(scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Messages, bytes, SavedCache]:
    """A conversation, the file of its cache, and what was said of it."""
    messages, path = conversation("ant"), tmp_path_factory.mktemp("caches") / "ant"
    async with running() as engine:
        await engine.talk(messages, "Hello!")
        saved = await engine.save(messages, path)
    assert saved is not None
    return messages, path.read_bytes(), saved


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in its head": lambda data: data[:10],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "one bit other": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "longer": lambda data: data + b"more",
    "zeros": lambda data: bytes(len(data)),
}


async def test_a_file_that_is_not_what_was_written_is_not_restored_and_ends_no_worker(
    whole: tuple[Messages, bytes, SavedCache], tmp_path: Path
) -> None:
    _, data, saved = whole
    async with running() as engine:
        worker = engine.worker
        for damage in DAMAGES.values():
            path = tmp_path / "damaged"
            path.write_bytes(damage(data))
            assert not await engine.restore(path, saved.fingerprint)
        assert not await engine.restore(tmp_path / "missing", saved.fingerprint)
        assert not await engine.restore(tmp_path, saved.fingerprint)
        (tmp_path / "good").write_bytes(data)
        assert await engine.restore(tmp_path / "good", saved.fingerprint)
        assert engine.worker is worker
        assert (await engine.answer(conversation("bee"), max_tokens=1))["choices"]


@pytest.mark.parametrize("settings", [{"kv_cache_type": "q8_0"}, {"context_length": 1024}])
async def test_a_worker_that_runs_otherwise_does_not_restore(
    whole: tuple[Messages, bytes, SavedCache], tmp_path: Path, settings: dict[str, Any]
) -> None:
    _, data, saved = whole
    (tmp_path / "cache").write_bytes(data)
    async with running(**settings) as engine:
        for fingerprint in (saved.fingerprint, "", "nonsense", "-"):
            assert not await engine.restore(tmp_path / "cache", fingerprint)


async def test_a_model_that_is_not_loaded_and_an_engine_without_caches_have_none(tmp_path: Path) -> None:
    for settings in ({"engine": "scripted"}, {}):
        collection = await ModelCollection.start(Settings(threads=1, **settings), load=bool(settings))
        try:
            engine = Engine(collection)
            assert await engine.save(conversation("ant"), tmp_path / "cache") is None
            assert not await engine.restore(tmp_path / "cache", "0-0")
            assert (engine.model.worker is not None) == bool(settings)
        finally:
            await collection.stop(0)


async def test_a_folder_that_cannot_be_written_is_no_cache_and_leaves_nothing_behind(tmp_path: Path) -> None:
    messages = conversation("ant")
    (tmp_path / "file").write_text("in the way")
    async with running() as engine:
        await engine.talk(messages, "Hello!")
        assert await engine.save(messages, tmp_path / "file" / "cache") is None
        folder = engine.worker.ready.cache_folder
        assert folder is not None
        assert not left_in(folder)


async def test_a_request_at_work_is_neither_saved_nor_disturbed(tmp_path: Path) -> None:
    messages, path = conversation("ant"), tmp_path / "cache"
    async with running(slots=1) as engine:
        await engine.talk(messages, "Hello!")
        saved = await engine.save(messages, path)
        assert saved is not None
        asking = asyncio.create_task(engine.answer(conversation("bee"), max_tokens=1500, ignore_eos=True))
        while not any(slot["is_processing"] for slot in await engine.worker.fetch("/slots")):
            pass
        assert await engine.save(messages, tmp_path / "other") is None
        assert not await engine.restore(path, saved.fingerprint)
        assert not asking.done()  # nothing has waited for it
        assert (await asking)["usage"]["completion_tokens"] == 1500


async def test_an_embedding_model_has_no_folder_for_conversations() -> None:
    config = {"slot_save_path": None, "folder": "/somewhere", "pooling": "mean", "embeddings": True}
    assert cache_folder({**config, "embedding_only": True}) is None
    assert cache_folder({**config, "embedding_only": False}) == "/somewhere"
    assert cache_folder({**config, "embedding_only": False, "slot_save_path": "/mine"}) == "/mine"
    assert LlamaCpp().prompt_caches is not None
