"""What MCP servers send, in our own types: content blocks of results, resources and prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
import orjson

from modelhost import json_text
from modelhost.tools.outcome import ToolImage, ToolSound
from modelhost.tools.status import PromptCard, PromptField, ResourceCard, ResourceText


def text_of(blocks: Sequence[types.ContentBlock], structured: Any = None) -> str:
    """Return a result as text for a model: its text, and a line for each other block.

    Structured content should be there as text too; it is shown only if there is no text.
    """
    lines = [_line(block) for block in blocks]
    if structured is not None and not any(isinstance(block, types.TextContent) for block in blocks):
        lines.append(json_text.encode(structured, option=orjson.OPT_NON_STR_KEYS).decode())
    return "\n".join(lines)


def images_of(blocks: Iterable[types.ContentBlock]) -> tuple[ToolImage, ...]:
    """Return the images of a result, including those in embedded resources."""
    return tuple(ToolImage(media_type=media_type, data=data) for media_type, data in _media_in(blocks, "image"))


def sounds_of(blocks: Iterable[types.ContentBlock]) -> tuple[ToolSound, ...]:
    """Return the sounds of a result, including those in embedded resources."""
    return tuple(ToolSound(media_type=media_type, data=data) for media_type, data in _media_in(blocks, "audio"))


def _media_in(blocks: Iterable[types.ContentBlock], kind: str) -> Iterator[tuple[str, str]]:
    """Yield the media type and the base64 of each ``image`` or ``audio`` block, and of blobs of that type."""
    for block in blocks:
        match block:
            case (
                types.ImageContent(data=data, mime_type=media_type)
                | types.AudioContent(data=data, mime_type=media_type)
            ):
                if block.type == kind:
                    yield media_type, data
            case types.EmbeddedResource(resource=types.BlobResourceContents(blob=data, mime_type=str(media_type))):
                if media_type.startswith(f"{kind}/"):
                    yield media_type, data


def _line(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent(text=text):
            return text
        case types.ImageContent(mime_type=media_type, data=data) | types.AudioContent(mime_type=media_type, data=data):
            return f"[{media_type}, {_bytes_of(data):,} bytes]"
        case types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, text=text)):
            return f"[resource {uri}]\n{text}"
        case types.EmbeddedResource(resource=types.BlobResourceContents(uri=uri, mime_type=media_type, blob=data)):
            return f"[resource {uri}, {media_type or 'of an unknown type'}, {_bytes_of(data):,} bytes]"
        case types.ResourceLink(uri=uri, name=name, description=description):
            return f"[resource {uri}: {description or name}]"
        case _:
            return f"[{block.type}]"


def _bytes_of(base64: str) -> int:
    return len(base64.rstrip("=")) * 3 // 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt with its arguments filled in; ``messages`` have the form of a chat request."""

    description: str | None
    messages: tuple[Mapping[str, Any], ...] = field(repr=False)


def resource_info(server: str, found: types.Resource | types.ResourceTemplate) -> ResourceCard:
    uri, size = (str(found.uri), found.size) if isinstance(found, types.Resource) else (found.uri_template, None)
    return ResourceCard(
        server=server,
        uri=uri,
        name=found.name,
        title=found.title,
        description=found.description,
        media_type=found.mime_type,
        size=size,
        is_template=isinstance(found, types.ResourceTemplate),
    )


def resource_contents(found: types.ReadResourceResult) -> tuple[ResourceText, ...]:
    return tuple(
        ResourceText(
            uri=str(each.uri),
            media_type=each.mime_type,
            text=each.text if isinstance(each, types.TextResourceContents) else None,
            blob=each.blob if isinstance(each, types.BlobResourceContents) else None,
        )
        for each in found.contents
    )


def prompt_info(server: str, found: types.Prompt) -> PromptCard:
    arguments = [
        PromptField(name=each.name, description=each.description, is_required=bool(each.required))
        for each in found.arguments or ()
    ]
    return PromptCard(
        server=server, name=found.name, title=found.title, description=found.description, arguments=arguments
    )


def prompt_of(found: types.GetPromptResult) -> Prompt:
    return Prompt(description=found.description, messages=tuple(_message(each) for each in found.messages))


def _message(message: types.PromptMessage) -> dict[str, Any]:
    images = images_of([message.content])
    if not images:
        return {"role": message.role, "content": text_of([message.content])}
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{image.data}"}} for image in images
    ]
    return {"role": message.role, "content": parts}
