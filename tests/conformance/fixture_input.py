"""Tools that ask the client: by requests of their own in the handshake era, by unfinished results in the modern one."""

from __future__ import annotations

from typing import Any, Final

import mcp_types as types
from mcp.shared.message import ServerMessageMetadata

from tests.conformance.fixture_tools import Context, text, tool

Request = types.ElicitRequest | types.CreateMessageRequest | types.ListRootsRequest


def form(message: str, **fields: str) -> types.ElicitRequest:
    """A question with ``fields``, each of a JSON type, all required."""
    properties = {name: {"type": kind} for name, kind in fields.items()}
    return _form(message, {"type": "object", "properties": properties, "required": list(fields)})


def sampling(prompt: str, max_tokens: int) -> types.CreateMessageRequest:
    """A wish for something that the client's model writes."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def ask(state: str | None = None, **requests: Request) -> types.InputRequiredResult:
    """An unfinished result."""
    return types.InputRequiredResult(input_requests=dict(requests), request_state=state)


def given(asked: types.CallToolRequestParams | types.GetPromptRequestParams, name: str) -> str | None:
    """What the client has given for the question ``name``, as JSON."""
    answer = (asked.input_responses or {}).get(name)
    return None if answer is None else answer.model_dump_json(by_alias=True, exclude_none=True)


def _form(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


async def _elicited(ctx: Context, request: types.ElicitRequest) -> types.ElicitResult:
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    return await ctx.session.send_request(request, types.ElicitResult, metadata=related)


def _shown(answer: types.ElicitResult) -> types.CallToolResult:
    return text(f"Elicitation completed: action={answer.action}, content={answer.content}")


# The handshake era.


@tool("test_sampling", "Has the client's model write.", {"prompt": {"type": "string"}})
async def sampling_tool(ctx: Context, asked: types.CallToolRequestParams) -> Any:
    request = sampling((asked.arguments or {})["prompt"], 100)
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    answer = await ctx.session.send_request(request, types.CreateMessageResult, metadata=related)
    said = answer.content.text if isinstance(answer.content, types.TextContent) else ""
    return text(f"LLM response: {said}")


@tool("test_elicitation", "Asks for a name.", {"message": {"type": "string"}})
async def elicitation_tool(ctx: Context, asked: types.CallToolRequestParams) -> Any:
    answer = await _elicited(ctx, form((asked.arguments or {})["message"], username="string", email="string"))
    return text(f"User response: action={answer.action}, content={answer.content}")


@tool("test_elicitation_sep1034_defaults", "Asks with defaults.")
async def elicitation_defaults(ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return _shown(await _elicited(ctx, _form("Please tell", {"type": "object", "properties": properties})))


def _options(*titles: str) -> list[dict[str, str]]:
    return [{"const": f"value{number}", "title": title} for number, title in enumerate(titles, 1)]


@tool("test_elicitation_sep1330_enums", "Asks to choose.")
async def elicitation_enums(ctx: Context, _asked: types.CallToolRequestParams) -> Any:
    options = ["option1", "option2", "option3"]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": _options("First Option", "Second Option", "Third Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": _options("First Choice", "Second Choice", "Third Choice")}},
    }
    return _shown(await _elicited(ctx, _form("Please choose", {"type": "object", "properties": properties})))


# The modern era.


@tool("test_input_required_result_elicitation", "Asks for a name.")
async def elicitation(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    answer = (asked.input_responses or {}).get("user_name")
    if not isinstance(answer, types.ElicitResult) or not (answer.content or {}).get("name"):
        return ask(user_name=form("What is your name?", name="string"))
    return text(f"Hello, {(answer.content or {})['name']}!")


@tool("test_streaming_elicitation", "Asks for a name, and tells of its progress before.")
async def streaming_elicitation(ctx: Context, asked: types.CallToolRequestParams) -> Any:
    await ctx.session.report_progress(0, 1)
    return await elicitation.call(ctx, asked)


@tool("test_input_required_result_sampling", "Has the client's model answer.")
async def required_sampling(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    if (answer := given(asked, "capital_question")) is None:
        return ask(capital_question=sampling("What is the capital of France?", 100))
    return text(answer)


@tool("test_input_required_result_list_roots", "Asks for the roots.")
async def list_roots(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    if (answer := given(asked, "client_roots")) is None:
        return ask(client_roots=types.ListRootsRequest(params=types.RequestParams()))
    return text(answer)


@tool("test_input_required_result_request_state", "Asks, and gives a state along.")
async def request_state(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    if given(asked, "confirm") is None or asked.request_state != "asked":
        return ask("asked", confirm=form("Please confirm", ok="boolean"))
    return text("state-ok")


@tool("test_input_required_result_tampered_state", "Asks, and sees what comes back of the state.")
async def tampered_state(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    if given(asked, "confirm") is None:
        return ask("asked", confirm=form("Please confirm", ok="boolean"))
    return text("untouched")


@tool("test_input_required_result_multiple_inputs", "Asks for three things at once.")
async def multiple_inputs(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    requests: dict[str, Request] = {
        "user_name": form("What is your name?", name="string"),
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(params=types.RequestParams()),
    }
    if any(given(asked, name) is None for name in requests):
        return ask("asked", **requests)
    return text("All answered")


@tool("test_input_required_result_multi_round", "Asks twice.")
async def multi_round(_ctx: Context, asked: types.CallToolRequestParams) -> Any:
    if asked.request_state == "second" and given(asked, "step2") is not None:
        return text("Both answered")
    if asked.request_state == "first" and given(asked, "step1") is not None:
        return ask("second", step2=form("Step 2: What is your favorite color?", color="string"))
    return ask("first", step1=form("Step 1: What is your name?", name="string"))


@tool("test_input_required_result_capabilities", "Asks only for what the client can give.")
async def capabilities(ctx: Context, asked: types.CallToolRequestParams) -> Any:
    if asked.input_responses:
        return text("Answered")
    can = ctx.session.client_capabilities or types.ClientCapabilities()
    requests: dict[str, Request] = {}
    if can.elicitation is not None:
        requests["user_name"] = form("What is your name?", name="string")
    if can.sampling is not None:
        requests["greeting"] = sampling("Generate a greeting", 50)
    return ask(**requests) if requests else text("Nothing to ask")


TOOLS: Final = (
    sampling_tool,
    elicitation_tool,
    elicitation_defaults,
    elicitation_enums,
    elicitation,
    streaming_elicitation,
    required_sampling,
    list_roots,
    request_state,
    tampered_state,
    multiple_inputs,
    multi_round,
    capabilities,
)
