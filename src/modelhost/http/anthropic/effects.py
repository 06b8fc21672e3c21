"""What becomes of each field of :mod:`modelhost.http.anthropic.bodies`. Fields that say what an object is have no
entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelhost.http.anthropic import bodies
from modelhost.http.effects import Effect, Effects, engine, host, no_effect, refused

TAG: Final = "type"
"""The field that says what an object is."""

_CONVERSATION: Final[Mapping[str, Effect]] = {
    "model": host("The model that answers; absent: the active one"),
    "messages": engine(
        "Consecutive messages of one role become one message; system messages after the first others, text of the user"
    ),
    "system": engine("The first message; with `stable_prompts`, without lines that differ in each request"),
    "tools": engine("Tools of the client. Hosted tools are ignored, and noted; a toolset selects tools of the host"),
    "tool_choice": host("Enforced by the engine, where a call is required"),
    "thinking": engine("Whether the model thinks first; absent: it does not"),
    "mcp_servers": host("MCP servers of the host, by name; with the setting `remote_mcp_servers` others, by address"),
    "output_config": engine(),
    "output_format": engine("The same as `output_config.format`"),
    "cache_control": no_effect("Engines reuse a computed prompt by themselves"),
    "context_management": no_effect("The client shortens the conversation"),
}

EFFECTS: Final[Effects] = {
    bodies.MessagesRequest: {
        **_CONVERSATION,
        "max_tokens": engine("Required. 0: the prompt is read into the cache of the engine, and the answer is empty"),
        "stream": host(),
        "stop_sequences": host("The host finds them, to name the one that ended the answer"),
        **dict.fromkeys(("temperature", "top_p", "top_k"), engine()),
        **dict.fromkeys(
            ("metadata", "service_tier", "inference_geo", "speed", "betas", "container", "diagnostics"), no_effect()
        ),
        "include_progress": host("Extension: a stream begins with `modelhost.queued` and `modelhost.loading`"),
        "mcp": host("Extension: selects the host's tools, as in a chat"),
        "session_id": host("Extension: the stored conversation that the messages continue"),
    },
    bodies.CountTokensRequest: {
        **_CONVERSATION,
        "tool_choice": no_effect("It is not part of the prompt"),
        "mcp_servers": no_effect("The host's tools are not counted"),
        "output_config": engine("`effort` only"),
        "output_format": no_effect("It is not part of the prompt"),
        "speed": no_effect(),
    },
    bodies.Message: {
        "role": engine(),
        "content": engine(),
    },
    bodies.TextBlock: {"text": engine()},
    bodies.ImageBlock: {
        "source": engine("For models that see. In the result of a tool, others get a line of text, which is noted")
    },
    bodies.DocumentBlock: {
        "source": engine(
            "Text and blocks. Beside or in the result of a tool, others are noted, and the model learns of them"
        ),
        "title": engine("Precedes the text"),
        "context": engine("Precedes the text"),
    },
    bodies.SearchResultBlock: {
        "source": engine("Precedes the text"),
        "title": engine("Precedes the text"),
        "content": engine(),
    },
    bodies.ThinkingBlock: {
        "thinking": engine(),
        "signature": host("Verified: a block that this host did not write, or that was changed, is refused"),
    },
    bodies.ToolUseBlock: {"id": engine(), "name": engine(), "input": engine()},
    bodies.ToolResultBlock: {
        "tool_use_id": engine(),
        "content": engine(),
        "is_error": no_effect("The text of the result says what went wrong"),
    },
    bodies.HostToolUseBlock: {
        **dict.fromkeys(("id", "name", "input"), engine()),
        "server_name": no_effect("The name of the tool contains it"),
    },
    bodies.HostToolResultBlock: {
        "tool_use_id": engine(),
        "content": engine(),
        "is_error": no_effect("The text of the result says what went wrong"),
    },
    bodies.ReferenceBlock: {"tool_name": engine("As text, in a message of the user")},
    bodies.IgnoredBlock: {},
    bodies.DataSource: {
        "media_type": engine("An image's type; documents: `text/...` only"),
        "data": engine(),
    },
    bodies.UrlSource: {"url": host("Fetched if the setting `fetch_urls` permits it; documents: `text/...` only")},
    bodies.FileSource: {"file_id": refused("The host stores no files: send the contents")},
    bodies.TextSource: {"data": engine()},
    bodies.ContentSource: {"content": engine()},
    bodies.Tool: {"name": engine(), "description": engine(), "input_schema": engine()},
    bodies.HostedTool: {
        "name": no_effect(),
    },
    bodies.Toolset: {
        "mcp_server_name": host("One of `mcp_servers`"),
        "default_config": host("For the tools of the server that `configs` does not name"),
        "configs": host("By the names that the server gives its tools; unknown ones have no effect"),
    },
    bodies.ToolsetConfig: {"enabled": host("With `false`, the model does not get the tool")},
    bodies.FreeChoice: {"disable_parallel_tool_use": engine("As `parallel_tool_calls`, if `true`")},
    bodies.NamedChoice: {
        "name": host("The model sees only this tool"),
        "disable_parallel_tool_use": engine("As `parallel_tool_calls`, if `true`"),
    },
    bodies.ThinkingEnabled: {
        "budget_tokens": engine("As `thinking_budget_tokens`, where the engine has it; otherwise ignored, and noted"),
        "display": host("With `omitted`, thinking blocks have no text"),
    },
    bodies.ThinkingFreely: {"display": host("With `omitted`, thinking blocks have no text")},
    bodies.ThinkingDisabled: {},
    bodies.OutputConfig: {
        "effort": engine("As `reasoning_effort`, where the engine has it; `xhigh` and `max` are `high`"),
        "format": engine("The host checks the answer against the schema"),
    },
    bodies.OutputFormat: {"schema": engine()},
    bodies.McpServer: {
        "name": host("One of the servers in the host's `mcp.json`, or any other name, with `url`"),
        "url": host("Of a server that is not in `mcp.json`; the setting `remote_mcp_servers` permits it. Else noted"),
        "authorization_token": host("Sent to the server at `url` as its bearer token"),
        "tool_configuration": host(),
    },
    bodies.ServerTools: {
        "enabled": host("With `false`, the model gets none of its tools"),
        "allowed_tools": host("Only these tools, by their own names"),
    },
}
"""Of all objects of this API; the field ``mcp`` is that of a chat."""
