"""The Responses API: answers of the scripted engine, counts, refusals, what is stored, and tools that the host runs."""

from __future__ import annotations

from typing import Any, Final

from tests.goldens.http_scenarios import Act, Metric, Request, Said, Scenario, one
from tests.goldens.scenarios.generation import CALL
from tests.goldens.scenarios.refusals import HANGING, wait_until_idle
from tests.goldens.scenarios.tools import ECHO

RESPONSES: Final = "POST /v1/responses"
COUNT: Final = "POST /v1/responses/input_tokens"
ID: Final = r'"id":"(resp_[0-9a-f]+)"'
CONVERSATION: Final = r'"id":"(conv_[0-9a-f]+)"'
QUESTION: Final = r'"modelhost.question":\{[^{}]*?"id":"([^"]+)"'
REQUEST: Final = r'"id":"(mcpr_[^"]+)"'
WEATHER: Final[dict[str, Any]] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
STUB: Final = {"type": "mcp", "server_label": "stub"}


def response(given: Any, **fields: Any) -> dict[str, Any]:
    """The body of a request whose response is not stored."""
    return {"input": given, "store": False, **fields}


def said(*content: dict[str, Any], role: str = "user") -> list[dict[str, Any]]:
    """An input of one message."""
    return [{"role": role, "content": list(content)}]


ANSWERS: Final[tuple[Scenario, ...]] = (
    one("whole", RESPONSES, response("/echo one two")),
    one("streamed", RESPONSES, response("/echo one two", stream=True)),
    one("model by its alias", RESPONSES, response("/echo one", model="other")),
    one("at most one token", RESPONSES, response("/echo one two", max_output_tokens=1)),
    one("reasoning", RESPONSES, response("think first")),
    one("reasoning streamed", RESPONSES, response("think first", stream=True)),
    one("summary of reasoning streamed", RESPONSES, response(
        "think first", stream=True, reasoning={"summary": "auto"}
    )),
    one("call of the client's tool", RESPONSES, response(CALL, tools=[WEATHER])),
    one("call of the client's tool streamed", RESPONSES, response(CALL, tools=[WEATHER], stream=True)),
    one("result of a tool", RESPONSES, response(
        [
            *said({"type": "input_text", "text": "/echo sunny"}),
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "Sun."},
        ],
        tools=[WEATHER],
    )),
    one("what has no effect", RESPONSES, response(
        "/echo one", temprature=1, tools=[{"type": "web_search"}, {"type": "image_generation"}], metadata={"a": "b"}
    )),
    one("count", COUNT, {"input": "hello world", "instructions": "Be brief."}),
    Scenario(
        name="stored, continued and deleted",
        steps=(
            Request(line=RESPONSES, body={"input": "/echo one"}, keep={"first": ID}),
            Request(line=RESPONSES, body={"input": "/echo two", "previous_response_id": "$first"}, keep={"second": ID}),
            Request(line="GET /v1/responses/$second/input_items?order=asc"),
            Request(line="DELETE /v1/responses/$first"),
            Request(line="GET /v1/responses/$first"),
            Request(line=RESPONSES, body={"input": "/echo three", "previous_response_id": "$first"}),
        ),
    ),
    Scenario(
        name="in a conversation",
        steps=(
            Request(line="POST /v1/conversations", body={"metadata": {"a": "b"}}, keep={"conversation": CONVERSATION}),
            Request(line=RESPONSES, body={"input": "/echo one", "conversation": "$conversation"}),
            Request(line="GET /v1/conversations/$conversation/items?order=asc"),
            Request(line="DELETE /v1/conversations/$conversation"),
            Request(line=RESPONSES, body={"input": "/echo two", "conversation": "$conversation"}),
        ),
    ),
    Scenario(
        name="items of a conversation",
        steps=(
            Request(
                line="POST /v1/conversations",
                body={"items": [{"role": "user", "content": "hello"}]},
                keep={"conversation": CONVERSATION},
            ),
            Request(line="GET /v1/conversations/$conversation"),
            Request(line="POST /v1/conversations/$conversation", body={"metadata": {"a": "b"}}),
            Request(
                line="POST /v1/conversations/$conversation/items",
                body={"items": [{"id": "msg_mine", "role": "user", "content": "one"}]},
            ),
            Request(line="GET /v1/conversations/$conversation/items/msg_mine"),
            Request(line="GET /v1/conversations/$conversation/items?limit=1"),
            Request(line="DELETE /v1/conversations/$conversation/items/msg_mine"),
            Request(line="GET /v1/conversations/$conversation/items/msg_mine"),
            Request(line="DELETE /v1/conversations/$conversation"),
            Request(line="GET /v1/conversations/$conversation"),
        ),
    ),
    Scenario(
        name="in the background, followed, and cancelled when it is over",
        steps=(
            Request(line=RESPONSES, body={"input": "/echo one two", "background": True}, keep={"made": ID}),
            Request(line="GET /v1/responses/$made?stream=true"),
            Request(line="GET /v1/responses/$made?stream=true&starting_after=6"),
            Request(line="GET /v1/responses/$made"),
            Request(line="POST /v1/responses/$made/cancel"),
            Request(line="DELETE /v1/responses/$made"),
        ),
    ),
    Scenario(
        name="in the foreground, which is neither followed nor cancelled",
        steps=(
            Request(line=RESPONSES, body={"input": "/echo one"}, keep={"made": ID}),
            Request(line="GET /v1/responses/$made?stream=true"),
            Request(line="POST /v1/responses/$made/cancel"),
            Request(line="DELETE /v1/responses/$made"),
        ),
    ),
    one("compacted", "POST /v1/responses/compact", {"model": None, "input": [
        {"role": "user", "content": "/echo one"}, {"role": "assistant", "content": "one"}
    ]}),
)  # fmt: skip

REFUSALS: Final[tuple[Scenario, ...]] = (
    one("no JSON", RESPONSES, b"{"),
    one("no input", RESPONSES, {}),
    one("no length at all", RESPONSES, response("hello", max_output_tokens=0)),
    one("wrong value", RESPONSES, response("hello", temperature="hot")),
    one("part of an unknown type", RESPONSES, response(said({"type": "hologram"}))),
    one("file", RESPONSES, response(said({"type": "input_file", "file_id": "file_1"}))),
    one("PDF", RESPONSES, response(
        said({"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg=="})
    )),
    one("image at an address", RESPONSES, response(
        said({"type": "input_image", "image_url": "https://example.org/cat.png"})
    )),
    one("output without its call", RESPONSES, response(
        [{"type": "function_call_output", "call_id": "c1", "output": "Sun."}]
    )),
    one("reasoning that nobody sealed", RESPONSES, response(
        [{"type": "reasoning", "summary": [], "encrypted_content": "mine"}]
    )),
    one("reference to nothing", RESPONSES, response([{"type": "item_reference", "id": "item_1"}])),
    one("unknown predecessor", RESPONSES, response("hello", previous_response_id="resp_1")),
    one("unknown conversation", RESPONSES, response("hello", conversation="conv_1")),
    one("in the background, and not stored", RESPONSES, response("hello", background=True)),
    one("nothing to compact", "POST /v1/responses/compact", {"model": None}),
    one("compacted conversation that nobody sealed", RESPONSES, response(
        [{"type": "compaction", "encrypted_content": "mine"}]
    )),
    one("MCP server that is none of the host's", RESPONSES, response("hello", tools=[STUB])),
    one("unknown model", RESPONSES, response("hello", model="gpt-5")),
    one("unknown model, streamed", RESPONSES, response("hello", model="gpt-5", stream=True)),
    one("prompt that does not fit", RESPONSES, response("word " * 600)),
    one("engine that fails", RESPONSES, response("/error 500")),
    one("engine that fails, streamed", RESPONSES, response("/error 500", stream=True)),
    one("engine that fails in the middle, streamed", RESPONSES, response(
        "/batch 1 /malformed 2 /echo one two three", stream=True
    )),
)  # fmt: skip

LIMITS: Final[tuple[Scenario, ...]] = (
    one("no key", RESPONSES, response("hello"), host="locked"),
    Scenario(
        name="no place in the queue, and too long in it",
        steps=(
            HANGING,
            HANGING,
            Request(
                line=RESPONSES, body=response("hello"), host="small", held_until=Metric(name="modelhost_queue_length")
            ),
            Request(line=RESPONSES, body=response("hello"), host="small"),
        ),
    ),
    Scenario(
        name="body that is too large",
        steps=(
            Act(about="the requests before have ended", does=wait_until_idle),
            Request(line=RESPONSES, body=response("x" * 20_000), host="small"),
        ),
    ),
)

TOOLS: Final[tuple[Scenario, ...]] = (
    one("call of the host's tool", RESPONSES, response(ECHO)),
    one("call of the host's tool streamed", RESPONSES, response(ECHO, stream=True)),
    one("tools of one server streamed", RESPONSES, response(ECHO, stream=True, tools=[STUB])),
    one("tools of one server beside the client's", RESPONSES, response(ECHO, tools=[STUB, WEATHER])),
    one("call that fails", RESPONSES, response('/call stub_fail {"text": "out of order"}')),
    one("no more calls", RESPONSES, response(f"/turns 5 {ECHO}", max_tool_calls=1)),
    Scenario(
        name="approval by items",
        steps=(
            Request(
                line=RESPONSES,
                body={"input": ECHO, "tools": [{**STUB, "require_approval": "always"}]},
                keep={"response": ID, "request": REQUEST},
            ),
            Request(
                line=RESPONSES,
                body={
                    "previous_response_id": "$response",
                    "input": [
                        {"type": "mcp_approval_response", "approval_request_id": "$request", "approve": True},
                    ],
                    "tools": [{**STUB, "require_approval": "always"}],
                },
            ),
        ),
    ),
    Scenario(
        name="approval in the stream",
        steps=(
            Request(
                line=RESPONSES,
                body=response(ECHO, stream=True, mcp={"approval": "ask"}),
                held_until=Said(text="modelhost.question"),
                keep={"question": QUESTION},
            ),
            Request(line="POST /v1/mcp/approvals/$question", body={"approve": True}),
        ),
    ),
    one("count before the model is loaded", COUNT, {"input": "hello world", "model": "two"}),
)
