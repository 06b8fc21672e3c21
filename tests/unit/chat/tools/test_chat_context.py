"""Resources and prompts in a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from modelhost.chat.parsing.parse import parsed
from modelhost.chat.tools.mcp_context import with_context
from modelhost.engines.special_tokens import FROM_SERVER
from modelhost.errors import InvalidRequest, McpServerNotFound
from modelhost.exchange.messages import message_json
from modelhost.exchange.requests import ChatRequest
from modelhost.tools.content import Prompt
from modelhost.tools.reading import ResourceReader
from modelhost.tools.status import ResourceText

SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "What does it say?"}


class FakeReading(ResourceReader):
    """Servers that have one resource and one prompt."""

    def __init__(self) -> None:
        pass

    async def resource(self, server: str, uri: str) -> tuple[ResourceText, ...]:
        if server != "notes":
            raise McpServerNotFound("no MCP server is called so", server=server)
        is_text = not uri.endswith(".png")
        text = f"content of {uri}" if is_text else None
        return (ResourceText(uri=uri, media_type="text/plain" if is_text else "image/png", text=text, blob=None),)

    async def prompt(self, server: str, name: str, arguments: Mapping[str, str]) -> Prompt:
        messages = [
            {"role": "user", "content": f"{name} {arguments['topic']}"},
            {"role": "assistant", "content": "OK."},
        ]
        return Prompt(description=None, messages=tuple(messages))


async def _read(messages: list[dict[str, Any]], **wishes: Any) -> list[Mapping[str, Any]]:
    request = parsed("chat", {"messages": messages, "mcp": wishes})
    assert isinstance(request, ChatRequest)
    return [message_json(message) for message in (await with_context(request, FakeReading())).messages]


async def test_a_resource_stands_before_the_users_last_question() -> None:
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    messages = await _read([SYSTEM, *earlier, QUESTION], resources=[{"server": "notes", "uri": "note://1"}])
    assert messages[:3] == [SYSTEM, *earlier]
    assert messages[3]["content"] == (
        '<resource uri="note://1">\ncontent of note://1\n</resource>\n\nWhat does it say?'
    )


async def test_a_question_in_parts_keeps_its_parts() -> None:
    question = {"role": "user", "content": [{"type": "text", "text": "What?"}]}
    (message,) = await _read([question], resources=[{"server": "notes", "uri": "note://1"}])
    assert [part["type"] for part in message["content"]] == ["text", "text"]
    assert message["content"][1]["text"] == "What?"


async def test_a_prompt_begins_the_conversation_after_the_system() -> None:
    wish = {"server": "notes", "name": "explain", "arguments": {"topic": "tides"}}
    messages = await _read([SYSTEM, QUESTION], prompts=[wish])
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1]["content"] == "explain tides"
    assert messages[2] == {"role": "assistant", "content": "OK.", FROM_SERVER: True}  # no model has said it


async def test_neighbours_of_the_user_become_one_message() -> None:
    wish = {"server": "notes", "name": "explain", "arguments": {"topic": "tides"}}
    messages = await _read(
        [{"role": "user", "content": "First"}, {"role": "user", "content": "Second"}], prompts=[wish]
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[2]["content"] == "First\n\nSecond"


async def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="image/png and no text") as refused:
        await _read([QUESTION], resources=[{"server": "notes", "uri": "note://1.png"}])
    assert refused.value.param == "mcp.resources"


async def test_an_unknown_server_is_an_error() -> None:
    with pytest.raises(McpServerNotFound):
        await _read([QUESTION], resources=[{"server": "nowhere", "uri": "note://1"}])
