"""``chat_completion`` over a stand-in for the host."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelhost.config.request_defaults import HIGHEST_TEMPERATURE
from modelhost.errors import InvalidRequest, ModelNotFound, NotFound, WorkerCrashed
from modelhost.exchange.chunks import CALL, QUESTION, RESULT
from modelhost.mcp_servers.chat_tool import ChatDefaults, chat_completion
from modelhost.operations.llm import CHAT, ChatParameters, ChatResult
from modelhost.operations.operation import parsed
from tests.support.mcp_backend import FakeBackend, piece

HELLO = [{"role": "user", "content": "Hello"}]


async def chat(backend: FakeBackend, defaults: ChatDefaults | None = None, **arguments: Any) -> ChatResult:
    asked = parsed(CHAT, ChatParameters, {"messages": HELLO, **arguments})
    return await chat_completion(backend, defaults or ChatDefaults(), asked)


async def test_answer_is_put_together() -> None:
    backend = FakeBackend()
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    backend.chunks = [*backend.chunks, {"model": "one", "choices": [], "usage": usage}]
    assert (await chat(backend, session_id="s")).model_dump() == {
        "content": "Hello.",
        "model": "one",
        "session_id": "s",
        "finish_reason": "stop",
        "usage": usage,
        "tool_calls": [],
        "missing_servers": [],
    }
    assert backend.bodies[0]["messages"] == HELLO
    assert backend.bodies[0]["session_id"] == "s"
    assert backend.bodies[0]["stream"] is True


@pytest.mark.promise(
    "vllm-mcp.variables.temperature",
    "vllm-mcp.variables.max-tokens",
    "vllm-mcp.variables.top-p",
    "vllm-mcp.variables.top-k",
)
async def test_what_is_silent_gets_the_defaults_of_the_seed() -> None:
    backend = FakeBackend()
    await chat(backend)
    body = backend.bodies[0]
    assert (body["temperature"], body["max_tokens"], body["top_p"], body["top_k"]) == (0.7, 512, 1.0, -1)
    assert "seed" not in body
    assert "model" not in body


@pytest.mark.promise("vllm-mcp.variables.temperature", "vllm-mcp.chat.max-tokens", "vllm-mcp.chat.top-k")
async def test_the_call_wins_over_the_server_and_the_server_over_the_model() -> None:
    backend = FakeBackend()
    backend.defaults = {"temperature": 0.1, "max_tokens": 64, "top_p": 0.5}
    await chat(backend, ChatDefaults(temperature=0.3, max_tokens=32, model="two"), temperature=0)
    body = backend.bodies[0]
    assert (body["temperature"], body["max_tokens"], body["top_p"], body["top_k"]) == (0, 32, 0.5, -1)
    assert body["model"] == "two"


async def test_calls_of_the_hosts_own_tools_are_told() -> None:
    backend = FakeBackend()
    call = {"id": "c1", "name": "clock", "arguments": {"zone": "UTC"}}
    result = {"id": "c1", "name": "clock", "server": "time", "tool": "now", "is_error": False, "text": "noon"}
    backend.chunks = [piece(**{CALL: call}), piece(**{RESULT: result}), piece("It is noon."), piece(None, "stop")]
    (told,) = (await chat(backend)).tool_calls
    assert told.model_dump() == {
        "id": "c1",
        "name": "clock",
        "arguments": {"zone": "UTC"},
        "server": "time",
        "is_error": False,
        "text": "noon",
    }


async def test_questions_are_given_up_since_nobody_can_be_asked() -> None:
    backend = FakeBackend()
    backend.results["answer-elicitation"] = NotFound("gone")  # somebody else was faster
    backend.chunks = [
        piece(**{QUESTION: {"id": "q1", "kind": "approval"}}),
        piece(**{QUESTION: {"id": "q2", "kind": "elicitation"}}),
        piece("No."),
    ]
    assert (await chat(backend)).content == "No."
    assert [(name, parameters.model_dump(exclude_unset=True)) for name, parameters in backend.ran] == [
        ("answer-approval", {"id": "q1", "approve": None}),
        ("answer-elicitation", {"id": "q2", "action": "cancel"}),
    ]


async def test_pieces_are_told_as_they_come() -> None:
    told: list[tuple[int, str]] = []

    async def tell(count: int, text: str) -> None:
        told.append((count, text))

    asked = parsed(CHAT, ChatParameters, {"messages": HELLO})
    await chat_completion(FakeBackend(), ChatDefaults(), asked, tell=tell)
    assert told == [(1, "Hel"), (2, "lo.")]


async def test_error_in_the_middle_is_the_callers() -> None:
    backend = FakeBackend()
    backend.chunks = [piece("Hel"), WorkerCrashed("It is gone.", model="one", worker="w")]
    with pytest.raises(WorkerCrashed):
        await chat(backend)
    assert backend.was_left.is_set()


async def test_cancelling_leaves_the_generation() -> None:
    backend = FakeBackend()
    backend.holds = True
    task = asyncio.create_task(chat(backend))
    async with asyncio.timeout(5):
        await backend.was_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.was_left.is_set()


async def test_unknown_model_is_refused_before_it_is_asked() -> None:
    backend = FakeBackend()
    with pytest.raises(ModelNotFound):
        await chat(backend, model="none")
    assert backend.bodies == []


@pytest.mark.promise("vllm-mcp.chat.temperature", "vllm-mcp.chat.top-p")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", HIGHEST_TEMPERATURE + 0.1),
        ("temperature", "0.5"),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("messages", []),
        ("messages", [{"role": "nobody", "content": "x"}]),
        ("session_id", ""),
        ("seed", 1.5),
    ],
)
async def test_wrong_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await chat(FakeBackend(), **{name: value})
    assert (caught.value.param or "").startswith(name)
