"""Ollama's API: chats and prompts with the scripted engine, vectors, loading, refusals, and tools of the host."""

from __future__ import annotations

from typing import Any, Final

from tests.goldens.http_scenarios import Act, Metric, Request, Said, Scenario, one
from tests.goldens.scenarios.generation import CALL
from tests.goldens.scenarios.refusals import HANGING, wait_until_idle
from tests.goldens.scenarios.tools import ECHO

CHAT: Final = "POST /api/chat"
GENERATE: Final = "POST /api/generate"
EMBED: Final = "POST /api/embed"
EMBEDDINGS: Final = "POST /api/embeddings"
WHOLE: Final = {"stream": False}
QUESTION: Final = r'"modelhost.question":\{"id":"([^"]+)"'
WEATHER: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def chat(said: str, **fields: Any) -> dict[str, Any]:
    """The body of a chat with one message."""
    return {"messages": [{"role": "user", "content": said}], **fields}


ANSWERS: Final[tuple[Scenario, ...]] = (
    one("chat", CHAT, chat("/echo one two")),
    one("chat, whole", CHAT, chat("/echo one two", **WHOLE)),
    one("prompt", GENERATE, {"prompt": "/echo one two"}),
    one("prompt, whole", GENERATE, {"prompt": "/echo one two", **WHOLE}),
    one("raw prompt", GENERATE, {"prompt": "/echo one two", "raw": True}),
    one("model by its alias", CHAT, chat("/echo one", model="other:latest", **WHOLE)),
    one("in a session", CHAT, chat("/echo one", **WHOLE), headers={"X-Session-Id": "ollama"}),
    one("at most one token", CHAT, chat("/echo one two", options={"num_predict": 1})),
    one("stop text", CHAT, chat("/echo one two three", options={"stop": ["two"]})),
    one("log probabilities", CHAT, chat("/echo one two", logprobs=True, **WHOLE)),
    one("thinking", CHAT, chat("think first", think=True)),
    one("thinking, whole", CHAT, chat("think first", **WHOLE)),
    one("thinking that nobody wants", CHAT, chat("think first", think=False, **WHOLE)),
    one("call of the client's tool", CHAT, chat(CALL, tools=[WEATHER])),
    one("call of the client's tool, whole", CHAT, chat(CALL, tools=[WEATHER], **WHOLE)),
    one("result of a tool", CHAT, {**WHOLE, "tools": [WEATHER], "messages": [
        {"role": "user", "content": "/echo sunny"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {}}}]},
        {"role": "tool", "tool_name": "weather", "content": "Sun."},
    ]}),
    one("what has no effect", CHAT, chat("/echo one", temprature=1, options={"num_gpu": 1, "tfs_z": 1}, **WHOLE)),
    one("vectors", EMBED, {"input": ["one"], "dimensions": 2}),
    one("nothing to embed", EMBED, {"input": []}),
    one("vector of one text", EMBEDDINGS, {"prompt": ""}),
    one("load", CHAT, {"messages": [], "keep_alive": "1h"}),
    one("load for a prompt", GENERATE, {}),
)  # fmt: skip

REFUSALS: Final[tuple[Scenario, ...]] = (
    one("no JSON", CHAT, b"{"),
    one("wrong value", CHAT, chat("hello", options={"temperature": "hot"})),
    one("wrong time", CHAT, chat("hello", keep_alive="soon")),
    one("role of nobody", CHAT, {"messages": [{"role": "robot", "content": "hello"}]}),
    one("arguments as text", CHAT, {"messages": [
        {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": "{}"}}]},
    ]}),
    one("unknown model", CHAT, chat("hello", model="nobody")),
    one("prompt that does not fit", CHAT, chat("word " * 600)),
    one("infilling", GENERATE, {"prompt": "one", "suffix": "two"}),
    one("raw prompt with a system prompt", GENERATE, {"prompt": "one", "raw": True, "system": "two"}),
    one("engine that fails", CHAT, chat("/error 500")),
    one("engine that fails in a stream", CHAT, chat("/batch 1 /malformed 1 /echo one two")),
    one("another method", "GET /api/chat"),
    one("nothing", "POST /api/nothing", {}),
)  # fmt: skip

LIMITS: Final[tuple[Scenario, ...]] = (
    one("no key", CHAT, chat("hello"), host="locked"),
    Scenario(
        name="no place in the queue, and too long in it",
        steps=(
            HANGING,
            HANGING,
            Request(line=CHAT, body=chat("hello"), host="small", held_until=Metric(name="modelhost_queue_length")),
            Request(line=CHAT, body=chat("hello"), host="small"),
        ),
    ),
    Scenario(
        name="body that is too large",
        steps=(
            Act(about="the requests before have ended", does=wait_until_idle),
            Request(line=CHAT, body=chat("x" * 20_000), host="small"),
        ),
    ),
)

TOOLS: Final[tuple[Scenario, ...]] = (
    one("call of the host's tool", CHAT, chat(ECHO)),
    one("call of the host's tool, whole", CHAT, chat(ECHO, **WHOLE)),
    one("no tools for a prompt", GENERATE, {"prompt": ECHO, **WHOLE}),
    one("too few turns", CHAT, chat(f"/turns 5 {ECHO}", mcp={"max_turns": 2}, **WHOLE)),
    Scenario(
        name="approval",
        steps=(
            Request(
                line=CHAT,
                body=chat(ECHO, mcp={"approval": "ask"}),
                held_until=Said(text="modelhost.question"),
                keep={"question": QUESTION},
            ),
            Request(line="POST /v1/mcp/approvals/$question", body={"approve": True}),
        ),
    ),
)
