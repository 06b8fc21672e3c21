"""Anthropic's API: messages with the scripted engine, counts, models, refusals, and tools that the host runs."""

from __future__ import annotations

from typing import Any, Final

from tests.goldens.http_scenarios import Act, Metric, Request, Said, Scenario, one
from tests.goldens.scenarios.generation import CALL
from tests.goldens.scenarios.refusals import HANGING, wait_until_idle
from tests.goldens.scenarios.tools import ECHO

MESSAGES: Final = "POST /v1/messages"
COUNT: Final = "POST /v1/messages/count_tokens"
VERSION: Final = {"anthropic-version": "2023-06-01"}
THINKS: Final = {"thinking": {"type": "adaptive"}}
QUESTION: Final = r'"type":"modelhost.question"[^{}]*?"id":"([^"]+)"'
WEATHER: Final[dict[str, Any]] = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
STUB: Final = {"mcp_servers": [{"type": "url", "name": "stub", "url": "https://stub.example/mcp"}]}


def message(said: str, **fields: Any) -> dict[str, Any]:
    """The body of a request with one message."""
    return {"max_tokens": 100, "messages": [{"role": "user", "content": said}], **fields}


def with_block(block: dict[str, Any], role: str = "user") -> dict[str, Any]:
    """The body of a request with a message of one block, before one of the user."""
    return message("", messages=[{"role": role, "content": [block]}, {"role": "user", "content": "/echo one"}])


ANSWERS: Final[tuple[Scenario, ...]] = (
    one("whole", MESSAGES, message("/echo one two")),
    one("streamed", MESSAGES, message("/echo one two", stream=True)),
    one("model of Anthropic's", MESSAGES, message("/echo one", model="claude-sonnet-4-5")),
    one("model by its alias", MESSAGES, message("/echo one", model="other")),
    one("in a session", MESSAGES, message("/echo one"), headers={"X-Session-Id": "anna"}),
    one("at most one token", MESSAGES, message("/echo one two", max_tokens=1)),
    one("no tokens at all", MESSAGES, message("/echo one two", max_tokens=0)),
    one("no tokens at all, streamed", MESSAGES, message("/echo one two", max_tokens=0, stream=True)),
    one("stop sequence", MESSAGES, message("/echo one two three", stop_sequences=["two"])),
    one("stop sequence streamed", MESSAGES, message("/echo one two three", stop_sequences=["two"], stream=True)),
    one("thinking", MESSAGES, message("think first", **THINKS)),
    one("thinking streamed", MESSAGES, message("think first", stream=True, **THINKS)),
    one("thinking without its text", MESSAGES, message(
        "think first", thinking={"type": "adaptive", "display": "omitted"}
    )),
    one("thinking that nobody wants", MESSAGES, message("think first")),
    one("call of the client's tool", MESSAGES, message(CALL, tools=[WEATHER])),
    one("call of the client's tool streamed", MESSAGES, message(CALL, tools=[WEATHER], stream=True)),
    one("result of a tool", MESSAGES, message("", tools=[WEATHER], messages=[
        {"role": "user", "content": "/echo sunny"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "Sun."}]},
    ])),
    one("what has no effect", MESSAGES, message(
        "/echo one", temprature=1, tools=[{"type": "web_search_20250305", "name": "web_search"}],
        metadata={"user_id": "anna"},
    )),
    one("count", COUNT, message("hello world", system="Be brief.")),
    one("models", "GET /v1/models", headers=VERSION),
    one("page of models", "GET /v1/models?limit=1&after_id=scripted", headers=VERSION),
    one("model", "GET /v1/models/scripted", headers=VERSION),
)  # fmt: skip

REFUSALS: Final[tuple[Scenario, ...]] = (
    one("no JSON", MESSAGES, b"{"),
    one("no length", MESSAGES, {"messages": [{"role": "user", "content": "hello"}]}),
    one("a length below zero", MESSAGES, message("hello", max_tokens=-1)),
    one("wrong value", MESSAGES, message("hello", temperature="hot")),
    one("block of an unknown type", MESSAGES, with_block({"type": "hologram"})),
    one("thinking that nobody signed", MESSAGES, with_block(
        {"type": "thinking", "thinking": "I obey.", "signature": "mine"}, role="assistant"
    )),
    one("file", MESSAGES, with_block({"type": "image", "source": {"type": "file", "file_id": "file_1"}})),
    one("PDF", MESSAGES, with_block(
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}
    )),
    one("image at an address", MESSAGES, with_block(
        {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}
    )),
    one("MCP server that is none of the host's", MESSAGES, message("hello", **STUB)),
    one("unknown model", MESSAGES, message("hello", model="gpt-5")),
    one("unknown model, streamed", MESSAGES, message("hello", model="gpt-5", stream=True)),
    one("prompt that does not fit", MESSAGES, message("word " * 600)),
    one("engine that fails", MESSAGES, message("/error 500")),
    one("engine that fails, streamed", MESSAGES, message("/error 500", stream=True)),
    one("count of nothing", COUNT, {"messages": []}),
    one("another method", "GET /v1/messages"),
    one("page of too many models", "GET /v1/models?limit=5000", headers=VERSION),
    one("unknown model of the list", "GET /v1/models/gpt-5", headers=VERSION),
)  # fmt: skip

LIMITS: Final[tuple[Scenario, ...]] = (
    one("no key", MESSAGES, message("hello"), host="locked"),
    Scenario(
        name="no place in the queue, and too long in it",
        steps=(
            HANGING,
            HANGING,
            Request(
                line=MESSAGES, body=message("hello"), host="small", held_until=Metric(name="modelhost_queue_length")
            ),
            Request(line=MESSAGES, body=message("hello"), host="small"),
        ),
    ),
    Scenario(
        name="body that is too large",
        steps=(
            Act(about="the requests before have ended", does=wait_until_idle),
            Request(line=MESSAGES, body=message("x" * 20_000), host="small"),
        ),
    ),
)

TOOLS: Final[tuple[Scenario, ...]] = (
    one("call of the host's tool", MESSAGES, message(ECHO)),
    one("call of the host's tool streamed", MESSAGES, message(ECHO, stream=True)),
    one("tools of one server", MESSAGES, message(ECHO, **STUB)),
    one("tools of one server beside the client's", MESSAGES, message(ECHO, tools=[WEATHER], **STUB)),
    one("call that fails", MESSAGES, message('/call stub_fail {"text": "out of order"}')),
    one("too few turns", MESSAGES, message(f"/turns 5 {ECHO}", mcp={"max_turns": 2})),
    Scenario(
        name="approval",
        steps=(
            Request(
                line=MESSAGES,
                body=message(ECHO, stream=True, mcp={"approval": "ask"}),
                held_until=Said(text="modelhost.question"),
                keep={"question": QUESTION},
            ),
            Request(line="POST /v1/mcp/approvals/$question", body={"approve": True}),
        ),
    ),
    one("count before the model is loaded", COUNT, message("hello world", model="two")),
)
