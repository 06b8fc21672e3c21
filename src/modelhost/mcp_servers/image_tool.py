"""The tool ``generate_image``, which is listed where models of the host make images."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import mcp_types as types

from modelhost.client.host_client import SoundClient
from modelhost.mcp_servers import schemas
from modelhost.mcp_servers.host_tool import CallContext, HostTool, ToolOutcome
from modelhost.mcp_servers.sound_tools import definition_of, first_model, named
from modelhost.operations import images
from modelhost.operations.operation import parsed

AUDITED: Final = ("model", "size", "n", "steps", "guidance", "seed", "output_format")
"""The arguments that the audit log keeps: no prompts."""


def image_tool(backend: SoundClient) -> HostTool:
    """Return the tool."""

    async def work(arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        parameters = parsed(images.GENERATE, images.GenerateParameters, arguments)
        model = parameters.model or await first_model(backend, "images")
        body = {**parameters.model_dump(exclude_none=True), **named(model)}
        pictures = await backend.paint(body, reader.on_progress)
        media_type = f"image/{parameters.output_format}"
        made = [images.MadeImage(seed=each.seed, size_bytes=len(each.data)) for each in pictures]
        result = images.GenerateResult(model=model, mime_type=media_type, images=made)
        media = tuple(
            types.ImageContent(type="image", data=base64.b64encode(each.data).decode(), mime_type=media_type)
            for each in pictures
        )
        return ToolOutcome(structured=result.model_dump(mode="json"), media=media)

    return HostTool(
        definition=definition_of(
            images.GENERATE,
            "Make images of a text; the result is images.",
            parameters=images.GenerateParameters,
            result=images.GenerateResult,
        ),
        names=schemas.parameter_names(images.GenerateParameters),
        kept=lambda arguments: {name: arguments[name] for name in AUDITED if name in arguments},
        work=work,
        reports_progress=True,
        task="images",
    )
