"""What becomes of each field of :mod:`modelhost.http.responses.bodies` and of the items in it.

Fields that say what an object is have no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelhost.http.effects import Effect, Effects, engine, host, no_effect, refused
from modelhost.http.responses import bodies, item_bodies

_TEXT: Final[Mapping[str, Effect]] = {"text": engine()}
_LABEL: Final = host("Names the tool for the model, together with `name`")
_NO_FILES: Final = refused("The host stores no files: send the contents")

_CONVERSATION: Final[Mapping[str, Effect]] = {
    "model": host("The model that answers; absent: the active one"),
    "input": engine("Behind the conversation so far. Items that no model here can read are ignored and noted"),
    "instructions": engine("The first message, of this response alone"),
    "previous_response_id": host("The stored response whose conversation goes on"),
    "conversation": host("The stored conversation that goes on, to which input and output are added"),
    "tools": engine(
        "Tools of the client, and MCP servers. Types that the host cannot run are hidden from the model, noted, and "
        "listed in the metadata of the response as `modelhost.hidden_tools`"
    ),
    "tool_choice": host("Enforced by the engine, where a call is required. One of a hidden tool is ignored and noted"),
    "parallel_tool_calls": host("With `false`, the model's first call of a turn is the only one"),
    "reasoning": engine(),
    "text": engine(),
    "truncation": host("With `auto`, the oldest messages of a conversation that does not fit are dropped"),
}

_CREATE: Final[Mapping[str, Effect]] = {
    **_CONVERSATION,
    "stream": host(),
    "stream_options": host(),
    "store": host("With `false`, nothing is stored"),
    "background": host("The response is made whether or not the client stays"),
    "include": host("`reasoning.encrypted_content` and `message.output_text.logprobs`; OpenAI's others have no effect"),
    "metadata": host("Part of the response"),
    "max_output_tokens": engine("From 1, reasoning included"),
    "max_tool_calls": host("Calls that the host makes; the model goes on without those beyond it"),
    "top_logprobs": engine("From 1: log probabilities without `include`, too"),
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), engine()),
    "prompt_cache_key": no_effect("Engines reuse a computed prompt by themselves"),
    "prompt": refused("The host stores no prompts: send `instructions` and `input`"),
    "context_management": no_effect("`truncation` drops what does not fit"),
    **dict.fromkeys(("prompt_cache_retention", "prompt_cache_options", "safety_identifier"), no_effect()),
    **dict.fromkeys(("service_tier", "user", "client_metadata"), no_effect()),
    **dict.fromkeys(("top_k", "min_p", "seed"), engine("Extension")),
    "stop": engine("Extension: texts that end the answer"),
    "chat_template_kwargs": engine("Extension: where the engine has it; otherwise ignored, and noted"),
    "mcp": host("Extension: selects the host's tools, as in a chat"),
    "session_id": host("Extension: the session that the messages continue"),
}

_ID: Final = {"id": host("Of the item, where it is stored")}

_ITEMS: Final[Effects] = {
    item_bodies.InputText: _TEXT,
    item_bodies.InputImage: {
        "image_url": engine("For models that see. An address is fetched if the setting `fetch_urls` permits it"),
        "file_id": _NO_FILES,
        "detail": no_effect(),
    },
    item_bodies.InputFile: {
        "file_data": engine("Text in base64, or as a data URL of type `text/...`"),
        "file_url": host("Fetched if the setting `fetch_urls` permits it; `text/...` only"),
        "file_id": _NO_FILES,
        "filename": engine("Precedes the text"),
    },
    item_bodies.OutputText: _TEXT,
    item_bodies.RefusalPart: {"refusal": engine()},
    item_bodies.ReasoningText: _TEXT,
    item_bodies.MessageItem: {
        **_ID,
        "role": engine("`developer` is `system`. Behind the first other message, both are text of the user"),
        "content": engine("Consecutive messages of the user become one message"),
    },
    item_bodies.FunctionCall: {**_ID, "call_id": engine(), "name": engine(), "arguments": engine()},
    item_bodies.FunctionCallOutput: {**_ID, "call_id": engine(), "output": engine()},
    item_bodies.CustomToolCall: {**_ID, "call_id": engine(), "name": engine(), "input": engine()},
    item_bodies.CustomToolCallOutput: {**_ID, "call_id": engine(), "output": engine()},
    item_bodies.Reasoning: {
        **_ID,
        "summary": engine("If there is nothing else"),
        "content": engine("If nothing is sealed"),
        "encrypted_content": host("Opened: what no host of this database sealed, or was changed, is refused"),
    },
    item_bodies.McpListTools: {**_ID, "server_label": host("The tools of this server are not listed again")},
    item_bodies.McpCall: {
        "id": host("Tells which calls the model made together"),
        "server_label": _LABEL,
        **dict.fromkeys(("name", "arguments", "output"), engine()),
        "error": engine("The result of a call that failed"),
        "approval_request_id": host("Settles the request"),
    },
    item_bodies.McpApprovalRequest: {
        "id": host(),
        "server_label": _LABEL,
        "name": engine(),
        "arguments": engine(),
    },
    item_bodies.McpApprovalResponse: {
        **_ID,
        "approval_request_id": host("The call that the decision is about"),
        "approve": host("With `true`, the host makes the call, and the model goes on with its result"),
        "reason": engine("The model learns why a call was not approved"),
    },
    item_bodies.Compaction: {**_ID, "encrypted_content": host("Opened, as that of `Reasoning`")},
    item_bodies.ItemReference: {"id": host("The stored item in its place")},
    item_bodies.OtherItem: _ID,
}

EFFECTS: Final[Effects] = {
    bodies.CreateResponse: _CREATE,
    bodies.CountInputTokens: {
        **_CONVERSATION,
        "tools": engine("The host's tools are not counted"),
        "reasoning": no_effect(),
        **dict.fromkeys(("tool_choice", "parallel_tool_calls", "text"), no_effect("It is not part of the prompt")),
        "truncation": no_effect("The whole conversation is counted"),
        "personality": no_effect(),
    },
    **_ITEMS,
    bodies.FunctionTool: {
        **dict.fromkeys(("name", "description", "parameters"), engine()),
        "strict": engine("Where the engine has it"),
    },
    bodies.CustomTool: {"name": engine(), "description": engine(), "format": engine()},
    bodies.InputFormat: {
        "syntax": engine("`regex`, or `lark` where the engine has it"),
        "definition": engine(),
    },
    bodies.McpTool: {
        "server_label": host("One of the servers in the host's `mcp.json`, or any other name, with `server_url`"),
        "server_url": host(
            "Of a server that is not in `mcp.json`; the setting `remote_mcp_servers` permits it. Else noted"
        ),
        "connector_id": no_effect("A server needs an address, or a label of the host's"),
        "server_description": no_effect(),
        "headers": host("Sent to the server at `server_url`. Those of the connection, such as `Host`, are refused"),
        "authorization": host("Sent to the server at `server_url` as its bearer token"),
        "allowed_tools": host("Only these tools, by their own names"),
        "require_approval": host("Absent: for servers of `mcp.json` as that says, for others `always`"),
    },
    bodies.ToolFilter: {
        "tool_names": host(),
        "read_only": host("Tools that declare so"),
    },
    bodies.ApprovalFilter: {"always": host(), "never": host()},
    bodies.HostedTool: {},
    bodies.AllowedTools: {"mode": host(), "tools": host("The model sees only these tools")},
    bodies.ChosenTool: {
        "name": host("The model sees only this tool"),
        "server_label": host("The model sees only the tools of this server"),
    },
    bodies.TextConfig: {"format": engine("The host checks the answer against the schema"), "verbosity": no_effect()},
    bodies.TextFormat: {
        "name": engine(),
        "description": no_effect(),
        "schema": engine(),
        "strict": engine("Where the engine has it"),
    },
    bodies.ReasoningConfig: {
        "effort": engine(
            "As `reasoning_effort`, where the engine has it; `xhigh` and `max` are `high`. With `none`, the model does "
            "not think, where its chat template can say so"
        ),
        "summary": host("The reasoning comes as a summary, which is its whole text"),
        "generate_summary": host("The older name of `summary`"),
    },
    bodies.StreamOptions: {
        "include_obfuscation": no_effect("No event is obfuscated"),
        "include_progress": host("Extension: a stream has `modelhost.queued` and `modelhost.loading`"),
    },
    bodies.ConversationId: {"id": host()},
}
"""Of all objects of this API; the field ``mcp`` is that of a chat."""
