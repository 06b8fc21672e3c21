"""Resources and prompts of MCP servers as part of a conversation, where a request's field ``mcp`` names them.

What a resource holds stands before the text of the last message by the user; the messages of a prompt stand at the
beginning, after the system's. Neighbours of the same role become one message: many chat templates take no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from modelhost.engines.special_tokens import ASSISTANT, FROM_SERVER
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import SYSTEM_ROLES, Message, Part, TextPart, message_of
from modelhost.exchange.requests import ChatRequest

if TYPE_CHECKING:
    from modelhost.tools.reading import Reading
    from modelhost.tools.resources import ResourceContent


async def with_context(request: ChatRequest, reading: Reading) -> ChatRequest:
    """Return ``request`` with what its options for MCP ask for, read from all servers at the same time.

    Raises:
        McpServerNotFound, ToolServerUnavailable, ToolCallFailed: a server does not give it.
        InvalidRequest: a resource is no text.
    """
    options = request.mcp
    if options is None or not (options.prompts or options.resources):
        return request
    found = list(request.messages)
    prompts, resources = await asyncio.gather(
        asyncio.gather(*(reading.prompt(each.server, each.name, each.arguments) for each in options.prompts)),
        asyncio.gather(*(reading.resource(each.server, each.uri) for each in options.resources)),
    )
    texts = [_quoted(content) for contents in resources for content in contents]
    if texts:
        found = _before_question(found, "\n\n".join(texts))
    # What a server lets the assistant say no model has written: it is text like all that servers write.
    asked = [_of_server(message_of(message)) for prompt in prompts for message in prompt.messages]
    start = next((at for at, message in enumerate(found) if message.role not in SYSTEM_ROLES), len(found))
    joined = _joined([*found[:start], *asked, *found[start:]]) if asked else found
    return replace(request, messages=tuple(joined))


def _of_server(message: Message) -> Message:
    return replace(message, extra={**message.extra, FROM_SERVER: True}) if message.role == ASSISTANT else message


def _quoted(content: ResourceContent) -> str:
    if content.text is None:
        kind = content.media_type or "binary"
        raise InvalidRequest(f"mcp.resources: {content.uri} is {kind} and no text.", param="mcp.resources")
    return f'<resource uri="{content.uri}">\n{content.text}\n</resource>'


def _before_question(messages: list[Message], text: str) -> list[Message]:
    told = Message(role="user", content=text)
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user":
            return [*messages[:at], _together(told, messages[at]), *messages[at + 1 :]]
    return [*messages, told]


def _joined(messages: Sequence[Message]) -> list[Message]:
    joined: list[Message] = []
    for message in messages:
        if joined and message.role == joined[-1].role == "user":
            joined[-1] = _together(joined[-1], message)
        else:
            joined.append(message)
    return joined


def _together(one: Message, other: Message) -> Message:
    first, second = one.content or "", other.content or ""
    if isinstance(first, str) and isinstance(second, str):
        return replace(other, content=f"{first}\n\n{second}" if second else first)
    return replace(other, content=(*_parts(first), *_parts(second)))


def _parts(content: str | tuple[Part, ...]) -> tuple[Part, ...]:
    return (TextPart(content),) if isinstance(content, str) else content
