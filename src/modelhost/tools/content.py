"""The content blocks of a tool's result as text for a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import mcp_types as types
import orjson

from modelhost import json_text
from modelhost.tools.outcome import ToolImage


def text_of(blocks: Sequence[types.ContentBlock], structured: Any = None) -> str:
    """What a model can read of a result: its text, and a line for each block that is something else.

    Structured content is meant to be there as text too; it is shown only where it is not.
    """
    lines = [_line(block) for block in blocks]
    if structured is not None and not any(isinstance(block, types.TextContent) for block in blocks):
        lines.append(json_text.encoded(structured, option=orjson.OPT_NON_STR_KEYS).decode())
    return "\n".join(lines)


def images_of(blocks: Iterable[types.ContentBlock]) -> tuple[ToolImage, ...]:
    """The images of a result, those in embedded resources too."""
    found = []
    for block in blocks:
        match block:
            case types.ImageContent(data=data, mime_type=media_type):
                found.append(ToolImage(media_type=media_type, data=data))
            case types.EmbeddedResource(resource=types.BlobResourceContents(blob=data, mime_type=str(media_type))):
                if media_type.startswith("image/"):
                    found.append(ToolImage(media_type=media_type, data=data))
    return tuple(found)


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
