"""Resources and prompts of MCP servers, inserted into a conversation where a request's field ``mcp`` names them.

The contents of resources precede the text of the last user message; the messages of prompts come first, after system
messages. Adjacent user messages are merged: many chat templates require alternating roles.
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
    from modelhost.tools.reading import ResourceReader
    from modelhost.tools.status import ResourceText


async def with_context(request: ChatRequest, reading: ResourceReader) -> ChatRequest:
    """Return ``request`` with the resources and prompts of its ``mcp`` options, read from all servers concurrently.

    Raises:
        McpServerNotFound, ToolServerUnavailable, ToolCallFailed: one cannot be read.
        InvalidRequest: a resource is not text.
    """
    options = request.mcp
    if options is None or not (options.prompts or options.resources):
        return request
    found = list(request.messages)
    prompts, resources = await asyncio.gather(
        asyncio.gather(*(reading.prompt(each.server, each.name, each.arguments) for each in options.prompts)),
        asyncio.gather(*(reading.resource(each.server, each.uri) for each in options.resources)),
    )
    texts = [_tagged(content) for contents in resources for content in contents]
    if texts:
        found = _before_question(found, "\n\n".join(texts))
    # No model wrote a prompt's assistant messages: they are untrusted text like everything from a server.
    inserted = [_marked(message_of(message)) for prompt in prompts for message in prompt.messages]
    start = next((at for at, message in enumerate(found) if message.role not in SYSTEM_ROLES), len(found))
    merged = _merge_adjacent([*found[:start], *inserted, *found[start:]]) if inserted else found
    return replace(request, messages=tuple(merged))


def _marked(message: Message) -> Message:
    return replace(message, extra={**message.extra, FROM_SERVER: True}) if message.role == ASSISTANT else message


def _tagged(content: ResourceText) -> str:
    if content.text is None:
        kind = content.media_type or "binary"
        raise InvalidRequest(f"mcp.resources: {content.uri} is {kind} and no text.", param="mcp.resources")
    return f'<resource uri="{content.uri}">\n{content.text}\n</resource>'


def _before_question(messages: list[Message], text: str) -> list[Message]:
    inserted = Message(role="user", content=text)
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user":
            return [*messages[:at], _merge(inserted, messages[at]), *messages[at + 1 :]]
    return [*messages, inserted]


def _merge_adjacent(messages: Sequence[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in messages:
        if merged and message.role == merged[-1].role == "user":
            merged[-1] = _merge(merged[-1], message)
        else:
            merged.append(message)
    return merged


def _merge(one: Message, other: Message) -> Message:
    first, second = one.content or "", other.content or ""
    if isinstance(first, str) and isinstance(second, str):
        return replace(other, content=f"{first}\n\n{second}" if second else first)
    return replace(other, content=(*_parts(first), *_parts(second)))


def _parts(content: str | tuple[Part, ...]) -> tuple[Part, ...]:
    return (TextPart(content),) if isinstance(content, str) else content
