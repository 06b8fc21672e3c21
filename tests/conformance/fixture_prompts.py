"""Prompts."""

from __future__ import annotations

from typing import Any, Final

import mcp_types as types
from mcp.shared.exceptions import MCPError

from tests.conformance.fixture_input import ask, form, given
from tests.conformance.fixture_tools import PIXEL, Context


def _argument(name: str) -> types.PromptArgument:
    return types.PromptArgument(name=name, required=True)


PROMPTS: Final = (
    types.Prompt(name="test_simple_prompt", description="A prompt."),
    types.Prompt(
        name="test_prompt_with_arguments", description="A prompt.", arguments=[_argument("arg1"), _argument("arg2")]
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource", description="A prompt.", arguments=[_argument("resourceUri")]
    ),
    types.Prompt(name="test_prompt_with_image", description="A prompt."),
    types.Prompt(name="test_input_required_result_prompt", description="A prompt."),
)


async def get(_ctx: Context, asked: types.GetPromptRequestParams) -> Any:
    """Fill in a prompt."""
    arguments = asked.arguments or {}
    if asked.name == "test_simple_prompt":
        return _said(_text("This is a simple prompt for testing."))
    if asked.name == "test_prompt_with_arguments":
        shown = f"Prompt with arguments: arg1='{arguments.get('arg1')}', arg2='{arguments.get('arg2')}'"
        return _said(_text(shown))
    if asked.name == "test_prompt_with_embedded_resource":
        contents = types.TextResourceContents(
            uri=str(arguments.get("resourceUri")), mime_type="text/plain", text="Embedded resource content for testing."
        )
        resource = types.EmbeddedResource(type="resource", resource=contents)
        return _said(resource, _text("Please process the embedded resource above."))
    if asked.name == "test_prompt_with_image":
        image = types.ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return _said(image, _text("Please analyze the image above."))
    if asked.name == "test_input_required_result_prompt":
        if (context := given(asked, "user_context")) is None:
            return ask(user_context=form("What context should the prompt use?", context="string"))
        return _said(_text(f"Context: {context}"))
    raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {asked.name}")


def _text(said: str) -> types.TextContent:
    return types.TextContent(type="text", text=said)


def _said(*content: types.ContentBlock) -> types.GetPromptResult:
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=each) for each in content])
