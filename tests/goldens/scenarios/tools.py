"""MCP servers of a host and their tools: ``stub`` of the handshake era, ``sdk`` of the modern one."""

from __future__ import annotations

from typing import Any, Final

from tests.goldens.http_scenarios import CHAT, Request, Said, Scenario, chat, one

ECHO: Final = '/call stub_echo {"text": "four"}'
ADD: Final = '/call sdk_add {"a": 1, "b": 2}'
QUESTION: Final = r'modelhost.question":\{[^{}]*?"id":"([^"]+)"'


def asked(name: str, said: str, kind: str, *answers: dict[str, Any]) -> Scenario:
    """A question of ``kind`` on the stream of a chat, and its answers, the last of them twice."""
    return Scenario(
        name=name,
        steps=(
            Request(
                line=CHAT,
                body=chat(said, stream=True, mcp={"approval": "ask"} if kind == "approval" else {}),
                held_until=Said(text="modelhost.question"),
                keep={"question": QUESTION},
            ),
            *(Request(line=f"POST /v1/mcp/{kind}s/$question", body=answer) for answer in (*answers, answers[-1])),
        ),
    )


TOOLS: Final[tuple[Scenario, ...]] = (
    one("tools", "GET /v1/mcp/tools"),
    one("tools of one server", "GET /v1/mcp/tools?server=sdk"),
    one("servers", "GET /v1/mcp/servers"),
    one("call", "POST /v1/mcp/tools/stub_echo/call", {"arguments": {"text": "four"}}),
    one("call with a structured result", "POST /v1/mcp/tools/sdk_add/call", {"arguments": {"a": 1, "b": 2}}),
    one("call with a picture", "POST /v1/mcp/tools/sdk_picture/call", {}),
    one("call by server and name", "POST /v1/mcp/tools/stub.echo/call", {"arguments": {"text": "four"}}),
    one("call that fails", "POST /v1/mcp/tools/stub_fail/call", {"arguments": {"text": "out of order"}}),
    one("call with wrong arguments", "POST /v1/mcp/tools/sdk_add/call", {"arguments": {"a": "one"}}),
    one("call of a tool that there is not", "POST /v1/mcp/tools/none/call", {}),
    one("resources", "GET /v1/mcp/resources"),
    one("resource", "POST /v1/mcp/resources/read", {"server": "sdk", "uri": "memo://one"}),
    one("resource that there is not", "POST /v1/mcp/resources/read", {"server": "sdk", "uri": "memo://none"}),
    one("prompts", "GET /v1/mcp/prompts"),
    one("prompt", "POST /v1/mcp/prompts/get", {"server": "sdk", "name": "greet", "arguments": {"name": "Anna"}}),
    one("chat that calls a tool", CHAT, chat(ECHO)),
    one("chat that calls a tool streamed", CHAT, chat(ECHO, stream=True)),
    one("chat that calls a tool of the modern era", CHAT, chat(ADD)),
    one("chat that calls a tool that fails", CHAT, chat('/call stub_fail {"text": "out of order"}')),
    one("chat without tools", CHAT, chat(ECHO, mcp={"servers": []})),
    one("chat with a tool by server and name", CHAT, chat(ECHO, mcp={"tools": ["stub.echo"]})),
    one("chat with a field of mcp that is none", CHAT, chat(ECHO, mcp={"enabled": False})),
    one("chat with a resource and a prompt", CHAT, chat("/echo one", mcp={
        "resources": [{"server": "sdk", "uri": "memo://one"}],
        "prompts": [{"server": "sdk", "name": "greet", "arguments": {"name": "Anna"}}],
    })),
    one("chat with too few turns", CHAT, chat(f"/turns 5 {ECHO}", mcp={"max_turns": 2})),
    one("chat in which nobody can be asked", CHAT, chat(ECHO, mcp={"approval": "ask"})),
    asked("approval that is given", ECHO, "approval", {"approve": True}),
    asked("approval that is refused", ECHO, "approval", {"approve": False}),
    asked("approval that nobody can give", ECHO, "approval", {"approve": None}),
    asked("elicitation that does not fit its form", "/call sdk_hello", "elicitation",
        {"action": "accept", "content": {"name": 7}}, {"action": "accept", "content": {"name": "Anna"}}),
    asked("elicitation", "/call sdk_hello", "elicitation", {"action": "accept", "content": {"name": "Anna"}}),
    asked("elicitation that is declined", "/call sdk_hello", "elicitation", {"action": "decline"}),
    one("disable", "POST /v1/mcp/servers/stub/disable"),
    one("call of a disabled server", "POST /v1/mcp/tools/stub_echo/call", {"arguments": {"text": "four"}}),
    one("prompt of a disabled server", "POST /v1/mcp/prompts/get", {"server": "stub", "name": "none"}),
    one("enable", "POST /v1/mcp/servers/stub/enable"),
    one("restart", "POST /v1/mcp/servers/stub/restart"),
    one("server that there is not", "POST /v1/mcp/servers/none/restart"),
)  # fmt: skip
