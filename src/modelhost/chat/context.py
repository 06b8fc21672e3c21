"""Resources and prompts of MCP servers as part of a conversation, where a request's field ``mcp`` names them.

What a resource holds stands before the text of the last message by the user; the messages of a prompt stand at the
beginning, after the system's. Neighbours of the same role become one message: many chat templates take no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelhost.chat.requests import ToolWishes
from modelhost.engines.control_tokens import ASSISTANT, FROM_SERVER
from modelhost.errors import InvalidRequest

if TYPE_CHECKING:
    from modelhost.tools.reading import Reading
    from modelhost.tools.resources import ResourceContent

Message = Mapping[str, Any]
FIRST_ROLES = frozenset({"system", "developer"})


async def with_context(messages: Sequence[Message], wishes: ToolWishes | None, reading: Reading) -> list[Message]:
    """Return ``messages`` with what ``wishes`` ask for, read from all servers at the same time.

    Raises:
        McpServerNotFound, ToolServerUnavailable, ToolCallFailed: a server does not give it.
        InvalidRequest: a resource is no text.
    """
    found = list(messages)
    if wishes is None:
        return found
    prompts, resources = await asyncio.gather(
        asyncio.gather(*(reading.prompt(each.server, each.name, each.arguments) for each in wishes.prompts)),
        asyncio.gather(*(reading.resource(each.server, each.uri) for each in wishes.resources)),
    )
    texts = [_quoted(content) for contents in resources for content in contents]
    if texts:
        found = _before_question(found, "\n\n".join(texts))
    # What a server lets the assistant say no model has written: it is text like all that servers write.
    asked = [
        {**message, FROM_SERVER: True} if message["role"] == ASSISTANT else message
        for prompt in prompts
        for message in prompt.messages
    ]
    start = next((at for at, message in enumerate(found) if message["role"] not in FIRST_ROLES), len(found))
    return _joined([*found[:start], *asked, *found[start:]]) if asked else found


def _quoted(content: ResourceContent) -> str:
    if content.text is None:
        kind = content.media_type or "binary"
        raise InvalidRequest(f"mcp.resources: {content.uri} is {kind} and no text.", param="mcp.resources")
    return f'<resource uri="{content.uri}">\n{content.text}\n</resource>'


def _before_question(messages: list[Message], text: str) -> list[Message]:
    for at in range(len(messages) - 1, -1, -1):
        if messages[at]["role"] == "user":
            told = {"role": "user", "content": text}
            return [*messages[:at], _together(told, messages[at]), *messages[at + 1 :]]
    return [*messages, {"role": "user", "content": text}]


def _joined(messages: Sequence[Message]) -> list[Message]:
    joined: list[Message] = []
    for message in messages:
        if joined and message["role"] == joined[-1]["role"] == "user":
            joined[-1] = _together(joined[-1], message)
        else:
            joined.append(message)
    return joined


def _together(one: Message, other: Message) -> Message:
    first, second = one.get("content") or "", other.get("content") or ""
    if isinstance(first, str) and isinstance(second, str):
        return {**other, "content": f"{first}\n\n{second}" if second else first}
    return {**other, "content": [*_parts(first), *_parts(second)]}


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
