"""The scripted worker as a process, over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.scripted.engine import Scripted

KEY = "test-key"
PATIENCE = 10


@dataclass
class Worker:
    process: asyncio.subprocess.Process
    ready: dict[str, Any]
    session: aiohttp.ClientSession

    def post(self, path: str, **body: Any) -> Any:
        return self.session.post(self.ready["url"] + path, json=body)

    def chat(self, text: str, **more: Any) -> Any:
        return self.post("/v1/chat/completions", messages=[{"role": "user", "content": text}], **more)

    async def events(self, text: str, **more: Any) -> list[str]:
        async with self.chat(text, stream=True, **more) as answer:
            return [line[6:].decode().strip() async for line in answer.content if line.startswith(b"data: ")]

    async def state(self) -> dict[str, Any]:
        async with self.session.get(self.ready["url"] + "/scripted/state") as answer:
            state: dict[str, Any] = await answer.json()
        return state


@asynccontextmanager
async def process_of(**options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    launch = Scripted().launch(ModelSpec(name="m", options=options), KEY)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*launch.argv, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(dict(launch.config)).encode() + b"\n")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def worker_of(**options: Any) -> AsyncIterator[Worker]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(PATIENCE))
        process = await stack.enter_async_context(process_of(**options))
        headers = {"Authorization": f"Bearer {KEY}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        yield Worker(process, await announcement(process), session)


async def read_into(received: bytearray, answer: aiohttp.ClientResponse) -> None:
    async for data in answer.content.iter_any():
        received += data


async def announcement(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    event: dict[str, Any] = json.loads(await process.stdout.readline())
    return event


@pytest.fixture(scope="module")
async def worker() -> AsyncIterator[Worker]:
    calls = [{"name": "look", "arguments": {"city": "Oslo"}}, {"name": "wait", "arguments": ""}]
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(process_of(text="one two three", tool_calls=calls, context_length=50))
        headers = {"Authorization": f"Bearer {KEY}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        yield Worker(process, await announcement(process), session)


async def test_stream_has_the_chunks_of_llama_cpp(worker: Worker) -> None:
    *chunks, done = await worker.events("hi", stream_options={"include_usage": True})
    first, *middle, last, usage = [json.loads(chunk) for chunk in chunks]
    assert done == "[DONE]"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert [chunk["choices"][0]["delta"]["content"] for chunk in middle] == ["one", " two", " three"]
    assert last["choices"] == [{"finish_reason": "stop", "index": 0, "delta": {}}]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    assert len({chunk["id"] for chunk in (first, *middle, last, usage)}) == 1


async def test_tool_calls_come_as_deltas_name_first(worker: Worker) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    chunks = [json.loads(event) for event in (await worker.events("hi", tools=tools))[1:-2]]
    deltas = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks]
    assert deltas[0]["function"] == {"name": "look", "arguments": ""}
    assert "".join(delta["function"]["arguments"] for delta in deltas if delta["index"] == 0) == '{"city": "Oslo"}'
    assert deltas[-1]["function"] == {"name": "wait", "arguments": ""}


async def test_choices_of_one_request_are_told_apart_by_index(worker: Worker) -> None:
    chunks = [json.loads(event) for event in (await worker.events("hi", n=2))[:-1]]
    for index in (0, 1):
        mine = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content") or "" for choice in mine) == "one two three"
    async with worker.chat("hi", n=2) as answer:
        assert len((await answer.json())["choices"]) == 2


async def test_whole_answers_carry_usage_and_logprobs(worker: Worker) -> None:
    async with worker.chat("/echo a b", logprobs=True, max_tokens=1) as answer:
        body = await answer.json()
    assert body["choices"][0]["message"]["content"] == "a"
    assert body["choices"][0]["finish_reason"] == "length"
    assert [mark["logprob"] for mark in body["choices"][0]["logprobs"]["content"]] == [0.0]
    assert body["usage"] == {
        "completion_tokens": 1,
        "prompt_tokens": 3,
        "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


async def test_completions_are_answered_too(worker: Worker) -> None:
    async with worker.post("/v1/completions", prompt="hi", stop=[" three"]) as answer:
        assert (await answer.json())["choices"][0]["text"] == "one two"


async def test_embeddings_are_unit_vectors_and_near_for_texts_that_share_words(worker: Worker) -> None:
    async with worker.post("/v1/embeddings", input=["red apple", "red pear", "blue sky"]) as answer:
        apple, pear, sky = [item["embedding"] for item in (await answer.json())["data"]]
    assert sum(x * x for x in apple) == pytest.approx(1)
    assert sum(x * y for x, y in zip(apple, pear, strict=True)) > sum(x * y for x, y in zip(apple, sky, strict=True))


async def test_documents_are_ranked_by_shared_words(worker: Worker) -> None:
    async with worker.post("/v1/rerank", query="red apple", documents=["sky", "red", "red apple"], top_n=2) as answer:
        results = (await answer.json())["results"]
    assert [(item["index"], item["relevance_score"]) for item in results] == [(2, 1.0), (1, 0.5)]


async def test_tokens_give_the_text_back(worker: Worker) -> None:
    async with worker.post("/tokenize", content="some  words here") as answer:
        tokens = (await answer.json())["tokens"]
    assert len(tokens) == 3
    async with worker.post("/detokenize", tokens=tokens) as answer:
        assert await answer.json() == {"content": "some  words here"}


async def test_everything_but_health_wants_the_key(worker: Worker) -> None:
    async with aiohttp.ClientSession(worker.ready["url"]) as stranger:
        async with stranger.get("/health") as answer:
            assert answer.status == 200
        for path in ("/v1/models", "/metrics", "/scripted/state"):
            async with stranger.get(path, headers={"Authorization": "Bearer wrong"}) as answer:
                assert answer.status == 401
    for path in ("/v1/models", "/metrics"):
        async with worker.session.get(worker.ready["url"] + path) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"messages": [{"role": "user", "content": "word " * 50}]}, "exceed_context_size_error"),
        ({"messages": "hi"}, "invalid_request_error"),
        ({}, "invalid_request_error"),
    ],
)
async def test_bad_requests_get_the_errors_of_llama_cpp(worker: Worker, body: dict[str, Any], kind: str) -> None:
    async with worker.post("/v1/chat/completions", **body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == kind


async def test_error_command_answers_with_that_status(worker: Worker) -> None:
    async with worker.chat("/error 503") as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == 503


async def test_malformed_event_stands_where_it_was_asked_for(worker: Worker) -> None:
    events = await worker.events("/malformed 1 please")
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(events[2])
    assert json.loads(events[1]) | json.loads(events[3])
    assert events[-1] == "[DONE]"


async def test_client_that_leaves_frees_its_place() -> None:
    async with worker_of() as worker:
        async with worker.chat("/hang 2", stream=True) as answer:
            await answer.content.readuntil(b" is")
            assert (await worker.state())["in_flight"] == 1
            answer.close()
        while (state := await worker.state())["in_flight"]:
            pass
        assert (state["cancelled"], state["total"], state["tokens"]) == (1, 1, 2)
        assert state["last_body"]["messages"][0]["content"] == "/hang 2"


async def test_crash_command_kills_the_process_after_the_tokens_were_sent() -> None:
    async with worker_of(tokens_per_second=1000.0) as worker:
        async with worker.chat("/crash 2", stream=True) as answer:
            received = bytearray()
            with pytest.raises(aiohttp.ClientPayloadError):
                await read_into(received, answer)
        assert received.count(b'"content":"') == 2
        assert await worker.process.wait() == -signal.SIGKILL


async def test_paced_streams_side_by_side_all_get_every_token() -> None:
    async with worker_of(tokens=20, tokens_per_second=1000.0) as worker:
        answers = await asyncio.gather(*(worker.events("hi") for _ in range(32)))
    assert {len(events) for events in answers} == {20 + 3}


async def test_script_file_answers_by_the_last_message_of_the_user(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- match: weather\n  reply: It rains.\n")
    async with worker_of(script=str(script)) as worker, worker.chat("the weather?") as answer:
        assert (await answer.json())["choices"][0]["message"]["content"] == "It rains."


async def test_script_that_is_missing_fails_the_start_with_a_reason(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE), process_of(script=str(tmp_path / "none.yaml")) as process:
        event = await announcement(process)
        assert (event["event"], event["code"]) == ("failed", "config_error")
        assert "none.yaml" in event["message"]
        assert await process.wait() == 1


async def test_loading_announces_progress_and_then_fails_as_told() -> None:
    async with asyncio.timeout(PATIENCE), process_of(load_progress=2, fail_load="no luck", stderr_lines=3) as process:
        events = [await announcement(process) for _ in range(3)]
        _, log = await process.communicate()
    assert [event.get("fraction") for event in events] == [0.5, 1.0, None]
    assert events[2] == {"event": "failed", "code": "load_failed", "message": "no luck"}
    assert log.decode().splitlines() == ["scripted: line 1", "scripted: line 2", "scripted: line 3"]


async def test_exit_at_start_comes_without_a_word() -> None:
    async with asyncio.timeout(PATIENCE), process_of(exit_at_start=3) as process:
        assert await process.wait() == 3
        assert process.stdout is not None
        assert await process.stdout.read() == b""


async def test_end_of_standard_input_ends_the_worker() -> None:
    async with worker_of() as worker:
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert await worker.process.wait() == 0


async def test_sigterm_ends_the_worker_at_once_with_an_open_stream_and_sigint_does_not() -> None:
    async with worker_of() as worker, worker.chat("/hang 1", stream=True) as answer:
        await answer.content.readuntil(b"This")
        worker.process.send_signal(signal.SIGINT)
        assert (await worker.state())["in_flight"] == 1
        worker.process.terminate()
        assert await worker.process.wait() == 0


async def test_ready_line_says_what_the_worker_can_do() -> None:
    async with worker_of(context_length=123) as worker:
        assert worker.ready["event"] == "ready"
        assert worker.ready["context_length"] == 123
        assert "chat" in worker.ready["tasks"]
        assert worker.process.pid != os.getpid()
