"""The tool ``chat_completion`` of the host's MCP servers over HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import PARSE_ERROR

from tests.doors.door import HttpDoor, Lacks
from tests.doors.openai_doors import chat_fields_of, messages_of
from tests.doors.talk import Ask, Failed, Outcome, Ran

PATH = "/mcp/llm"
TOOL = "chat_completion"
IGNORED = "arguments that a tool does not know are ignored, as those that gateways add"
LACKS: Lacks = {
    "reasoning": "the result is the text",
    "stop": IGNORED,
    "schema": IGNORED,
    "tools": IGNORED,
    "questions": "a call of a tool has nobody who could be asked",
}


class McpDoor(HttpDoor):
    """What its ways share."""

    def failed(self, status: int, answer: Any) -> Failed:
        error = answer["error"]
        code = "invalid_json" if error["code"] == PARSE_ERROR else error["data"]["code"]
        return Failed(code, error["message"], status)

    @staticmethod
    def _arguments(ask: Ask) -> dict[str, Any]:
        return {"messages": messages_of(ask), **chat_fields_of(ask)}

    @staticmethod
    def _add(got: Outcome, result: Mapping[str, Any]) -> None:
        found = result["structuredContent"]
        if result.get("isError"):
            raise Failed(found["error"]["code"].lower(), found["error"]["message"])
        if not got.pieces:
            got.pieces.append(found["content"])
        assert got.text == found["content"] == result["content"][0]["text"]
        got.finish = found["finish_reason"]
        got.usage = (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"])
        got.ran += [
            Ran(name=call["name"], text=call["text"], is_error=call["is_error"]) for call in found["tool_calls"]
        ]


class McpClient(McpDoor):
    """As the SDK's newest client calls it; the pieces come as progress."""

    name = "mcp"
    mode: ClassVar[Literal["auto", "legacy"]] = "auto"
    tells_place: ClassVar[bool] = False
    lacks: ClassVar[Lacks] = {**LACKS, "halves": "the SDK's client cannot write it"}

    async def put(self, ask: Ask, got: Outcome) -> None:
        async def note(progress: float, total: float | None, message: str | None) -> None:
            if progress < 1:
                assert message is None  # of which clients make the text
                got.waits.append("")
                return
            got.pieces.append(message or "")
            assert progress == len(got.pieces)

        url = str(self.http.base_url.join(PATH))
        async with Client(streamable_http_client(url, http_client=self.http), mode=self.mode) as client:
            result = await client.call_tool(TOOL, self._arguments(ask), progress_callback=note)
        self._add(got, result.model_dump(by_alias=True))


class McpHandshake(McpClient):
    """As clients of before 2026 call it."""

    name = "mcp-handshake"
    mode = "legacy"


class McpPlain(McpDoor):
    """As ``curl`` calls it: one request, one JSON answer."""

    name = "mcp-plain"
    lacks: ClassVar[Lacks] = {
        **LACKS,
        "pieces": "the answer comes at once",
        "waits": "the answer comes at once",
        "leaving between pieces": "the answer comes at once",
    }
    ids: ClassVar[itertools.count[int]] = itertools.count(1)

    async def put(self, ask: Ask, got: Outcome) -> None:
        params = {"name": TOOL, "arguments": self._arguments(ask)}
        request = {"jsonrpc": "2.0", "id": next(self.ids), "method": "tools/call", "params": params}
        self._add(got, (await self.whole(PATH, request))["result"])
