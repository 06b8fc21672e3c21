"""Requests of the Responses API as chat requests: tools, choices, formats, and the response as it begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
from msgspec.structs import replace

from modelhost.engines import ENGINES
from modelhost.errors import ContextLengthExceeded, InvalidRequest, ToolNotFound
from modelhost.exchange.messages import Message, ToolCall
from modelhost.exchange.requests import ApprovalRule, McpOptions, OutputFormat, ToolFilter
from modelhost.http.responses.bodies import CreateResponse
from modelhost.http.responses.items import input_items
from modelhost.http.responses.parse import ParsedResponse, chat_request, check
from modelhost.http.responses.preparing import new_response
from modelhost.http.responses.writing import without_oldest
from modelhost.http.validation import checked
from modelhost.tools.names import Selection

if TYPE_CHECKING:
    from modelhost.host import Host

Json = dict[str, Any]
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Json = {"type": "function", "name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
FILES: Json = {"type": "mcp", "server_label": "files"}
SEARCH: Json = {"type": "web_search"}
REMOTE: Json = {"type": "mcp", "server_label": "theirs", "server_url": "https://example.com/mcp"}


class Hub:
    """The tools of a host: two of one server."""

    tools: ClassVar = {"files_read": ("read", True), "files_rm": ("rm", False)}

    def server_names(self) -> tuple[str, ...]:
        return ("files",)

    def offered(self, _selection: Selection) -> tuple[Any, ...]:
        return tuple(
            SimpleNamespace(name=name, tool=tool, is_read_only=is_read_only)
            for name, (tool, is_read_only) in self.tools.items()
        )

    def tool(self, name: str) -> Any:
        if name == "files.read":
            return SimpleNamespace(name="files_read_0ab1")
        raise ToolNotFound("There is none.", tool=name)


def user(*parts: Json) -> Json:
    return {"role": "user", "content": list(parts)}


def host_of(engine: str) -> Host:
    model = SimpleNamespace(engine=ENGINES[engine], name="m", defaults={"temperature": 0.5})
    return cast("Host", SimpleNamespace(find=lambda _name: model, toolbox=SimpleNamespace(hub=Hub())))


def body_of(**fields: Any) -> CreateResponse:
    return checked(CreateResponse, {"input": "Hi", **fields})


def parse(engine: str = "llamacpp", **fields: Any) -> ParsedResponse:
    body = body_of(**fields)
    check(body)
    return chat_request(body, input_items(body.given_input, lambda _: None), host_of(engine), str)


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.message.startswith(f"{caught.value.param}: ")
    return caught.value


def test_the_fields_of_a_request() -> None:
    request = parse(
        model="m",
        instructions="Be brief.",
        max_output_tokens=7,
        temperature=1,
        top_p=0.5,
        top_k=4,
        seed=3,
        stop=["a", "b"],
        stream=True,
        stream_options={"include_progress": True},
        parallel_tool_calls=False,
        max_tool_calls=2,
        session_id="s",
    ).request
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k) == (7, 1.0, 0.5, 4)
    assert (sampling.seed, sampling.stop) == (3, ("a", "b"))
    assert [(message.role, message.text) for message in request.messages] == [("system", "Be brief."), ("user", "Hi")]
    assert (request.is_streamed, request.include_progress, request.parallel_tool_calls) == (True, True, False)
    assert (request.host_calls.max_calls, request.session_id) == (2, "s")


def test_what_is_wanted_of_the_answer() -> None:
    plain = parse()
    assert (plain.has_logprobs, plain.seals_reasoning, plain.is_summarised, plain.truncates) == (False,) * 4
    found = parse(
        include=["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
        reasoning={"summary": "auto"},
        truncation="auto",
        top_logprobs=2,
    )
    assert (found.has_logprobs, found.seals_reasoning, found.is_summarised, found.truncates) == (True,) * 4
    assert (found.request.logprobs, found.request.top_logprobs) == (True, 2)


@pytest.mark.parametrize(
    ("effort", "extra"),
    [
        ("low", {"reasoning_effort": "low"}),
        ("xhigh", {"reasoning_effort": "high"}),
        ("none", {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_effort_is_the_engines_field(effort: str, extra: Json) -> None:
    request = parse(reasoning={"effort": effort}, engine="vllm").request
    assert dict(request.extra) == extra


@pytest.mark.parametrize(
    ("given", "output"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, OutputFormat(kind="json_object")),
        (
            {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True},
            OutputFormat(kind="json_schema", schema=SCHEMA, extra={"name": "city", "strict": True}),
        ),
    ],
    ids=str,
)
def test_the_format_of_the_answer(given: Json | None, output: OutputFormat | None) -> None:
    assert parse(text={"format": given, "verbosity": "low"}).request.output == output


def test_a_schema_has_to_be_there() -> None:
    assert refusal(text={"format": {"type": "json_schema", "name": "a"}}).param == "text.format.schema"


# Tools.


def test_tools_of_the_client() -> None:
    grammar = {"type": "grammar", "syntax": "regex", "definition": "a+"}
    custom = {"type": "custom", "name": "run", "format": grammar}
    tools = parse(tools=[{**TOOL, "strict": True}, custom]).request.tools
    assert tools is not None
    assert [tool.name for tool in tools] == ["weather", "run"]
    assert (tools[0].parameters, tools[0].input) == (SCHEMA, None)
    assert tools[1].input is not None
    assert (tools[1].input.kind, tools[1].input.definition) == ("regex", "a+")


def test_tools_that_the_host_cannot_run_are_hidden() -> None:
    found = parse(tools=[{"type": "web_search"}, {"type": "namespace", "tools": []}, {"type": "web_search"}, TOOL])
    assert found.hidden_tools == ("web_search", "namespace")
    assert [tool.name for tool in found.request.tools or ()] == ["weather"]
    assert parse(tools=[{"type": "web_search"}]).request.tools == ()
    assert parse().request.tools is None


def test_a_choice_of_tools_that_the_host_cannot_run_is_none() -> None:
    assert parse(tools=[SEARCH], tool_choice="required").request.tool_choice is None
    assert parse(tools=[SEARCH, TOOL], tool_choice="required").request.tool_choice == "required"
    assert parse(tools=[SEARCH, FILES], tool_choice="required").request.tool_choice == "required"
    for mode in ("auto", "required"):
        only: Json = {"type": "allowed_tools", "mode": mode, "tools": [SEARCH]}
        assert parse(tools=[SEARCH, TOOL], tool_choice=only).request.tool_choice == "none"


def test_servers_of_the_host_by_label() -> None:
    request = parse(tools=[{**FILES, "allowed_tools": ["read"]}]).request
    assert request.tools is None
    of_files = McpOptions(servers=frozenset({"files"}), tools=frozenset({"files.read"}), field="tools")
    assert request.mcp == of_files
    calls = request.host_calls
    assert (calls.lists_tools, calls.defers_approvals, dict(calls.rules)) == (True, True, {})
    assert parse(tools=[FILES]).request.mcp == replace(of_files, tools=frozenset({"files.*"}))
    reading = parse(tools=[{**FILES, "allowed_tools": {"read_only": True}}]).request.mcp
    assert reading is not None
    assert reading.tools == {"files.read"}
    assert parse(tools=[FILES, TOOL]).request.tools != ()


def test_servers_elsewhere_by_address() -> None:
    allowed = {"tool_names": ["add"], "read_only": True}
    secret = {"authorization": "t", "headers": {"x-a": "b"}, "allowed_tools": allowed}
    request = parse(tools=[{**REMOTE, **secret}]).request
    assert request.mcp is not None
    (server,) = request.mcp.remote
    assert (server.name, server.url, server.param) == ("theirs", "https://example.com/mcp", "tools[0].server_url")
    assert (dict(server.headers), server.allowed_tools) == ({"x-a": "b", "Authorization": "Bearer t"}, {"add"})
    assert server.read_only is True
    assert request.host_calls.rules == {"theirs": ApprovalRule()}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (None, None),
        ("always", ApprovalRule()),
        ("never", ApprovalRule(otherwise=False)),
        ({"always": {"tool_names": ["rm"]}}, ApprovalRule(always=ToolFilter(names=frozenset({"rm"})), otherwise=False)),
        ({"never": {"read_only": True}}, ApprovalRule(never=ToolFilter(read_only=True))),
    ],
    ids=str,
)
def test_which_calls_need_approval(given: Any, rule: ApprovalRule | None) -> None:
    rules = parse(tools=[{**FILES, "require_approval": given}]).request.host_calls.rules
    assert rules.get("files") == rule


def test_without_a_server_approvals_are_as_on_other_doors() -> None:
    calls = parse().request.host_calls
    assert (calls.lists_tools, calls.defers_approvals) == (False, False)


@pytest.mark.parametrize(
    ("choice", "mode", "named", "allowed"),
    [
        (None, None, None, None),
        ("required", "required", None, None),
        ({"type": "function", "name": "weather"}, None, "weather", None),
        ({"type": "custom", "name": "run"}, None, "run", None),
        ({"type": "mcp", "server_label": "files", "name": "read"}, None, "files_read_0ab1", None),
        ({"type": "mcp", "server_label": "files"}, "required", None, ["files_read", "files_rm"]),
        ({"type": "mcp", "server_label": "theirs"}, "required", None, None),
        ({"type": "web_search"}, None, None, None),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}, {"type": "x"}],
            },
            "auto",
            None,
            ["weather"],
        ),
    ],
    ids=str,
)
def test_the_choice_among_tools(choice: Any, mode: str | None, named: str | None, allowed: Any) -> None:
    request = parse(tools=[TOOL], tool_choice=choice).request
    chosen = None if request.allowed_tools is None else sorted(request.allowed_tools)
    assert (request.tool_choice, request.named_tool, chosen) == (mode, named, allowed)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "nobody", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}, "input[0].content[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "0.5"}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {"x" * 65: "a"}}, f"metadata.{'x' * 65}"),
        ({"metadata": {str(number): "a" for number in range(17)}}, "metadata"),
        ({"include": ["reasoning.encrypted_content", "everything"]}, "include[1]"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "mcp"}}, "tool_choice.server_label"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom"}]}},
            "tool_choice.tools[0].name",
        ),
        ({"tools": [{**REMOTE, "headers": {"Host": "a"}}]}, "tools[0].headers.Host"),
        ({"tools": [{**REMOTE, "headers": {"Content-Length": "3"}}]}, "tools[0].headers.Content-Length"),
        ({"tools": [{**REMOTE, "headers": {"transfer-encoding": "chunked"}}]}, "tools[0].headers.transfer-encoding"),
        ({"tools": [{**REMOTE, "headers": {"x-a": "b\u00fcro"}}]}, "tools[0].headers.x-a"),
        ({"tools": [{**REMOTE, "headers": {"x-a": "a\r\nHost: b"}}]}, "tools[0].headers.x-a"),
        ({"tools": [{**REMOTE, "headers": {"x a": "b"}}]}, "tools[0].headers.x a"),
        ({"tools": [{**REMOTE, "authorization": "b\u00fcro"}]}, "tools[0].authorization"),
        ({"tools": [FILES], "top_logprobs": 1}, "top_logprobs"),
        ({"tools": [FILES, REMOTE, FILES]}, "tools[2].server_label"),
        ({"tools": [REMOTE, REMOTE]}, "tools[1].server_label"),
        ({"tools": [{**FILES, "authorization": "a"}]}, "tools[0].authorization"),
        ({"tools": [{**FILES, "headers": {"x-a": "b"}}]}, "tools[0].headers"),
        (
            {"tools": [{"type": "mcp", "server_label": "n", "connector_id": "connector_dropbox"}]},
            "tools[0].connector_id",
        ),
        ({"input": [user({"type": "input_image"})]}, "input[0].content[0]"),
        ({"input": [user({"type": "input_image", "image_url": None, "file_id": None})]}, "input[0].content[0]"),
        ({"input": [user({"type": "input_image", "image_url": ""})]}, "input[0].content[0].image_url"),
        (
            {"input": [user({"type": "input_image", "image_url": "a", "detail": "foo"})]},
            "input[0].content[0].detail",
        ),
        ({"input": [user({"type": "input_file", "filename": "a"})]}, "input[0].content[0]"),
        ({"input": [user({"type": "input_file", "file_data": None, "file_url": None})]}, "input[0].content[0]"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"previous_response_id": "r", "conversation": "c"}, "conversation"),
        ({"previous_response_id": "r", "session_id": "s"}, "session_id"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "custom", "name": "a", "format": {"type": "grammar"}}]}, "tools[0].format.syntax"),
        (
            {"tools": [{"type": "custom", "name": "a", "format": {"type": "grammar", "syntax": "regex"}}]},
            "tools[0].format.definition",
        ),
        (
            {
                "tools": [
                    {"type": "custom", "name": "a", "format": {"type": "grammar", "syntax": "regex", "definition": "("}}
                ]
            },
            "tools[0].format.definition",
        ),
        ({"tools": [{"type": "mcp", "server_label": "nobody"}]}, "tools[0].server_label"),
        ({"tools": [FILES], "mcp": {}}, "mcp"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_by_its_path(fields: Json, param: str) -> None:
    assert refusal(**fields).param == param


# The response as it begins.


def begun(body: CreateResponse) -> Json:
    parsed = chat_request(body, input_items("Hi", lambda _: None), host_of("llamacpp"), str)
    return new_response(body, parsed, response_id="resp_1", created_at=7, model="m")


def test_hidden_tools_stay_within_the_limits_of_metadata() -> None:
    many: list[Json] = [{"type": f"hidden_tool_{number}"} for number in range(60)]
    names = begun(body_of(tools=many))["metadata"]["modelhost.hidden_tools"]
    assert 450 < len(names) <= 512
    assert names.startswith("hidden_tool_0,hidden_tool_1,")
    full = {str(number): "a" for number in range(16)}
    assert begun(body_of(tools=many, metadata=full))["metadata"] == full


def test_a_response_has_every_field() -> None:
    body = body_of(
        tools=[{**REMOTE, "authorization": "secret", "headers": {"x": "secret"}}, TOOL, {"type": "web_search"}],
        metadata={"a": "b"},
        conversation={"id": "conv_1"},
    )
    found = begun(body)
    assert (found["id"], found["created_at"], found["status"], found["model"]) == ("resp_1", 7, "in_progress", "m")
    assert found["metadata"] == {"a": "b", "modelhost.hidden_tools": "web_search"}
    assert found["conversation"] == {"id": "conv_1"}
    assert "secret" not in repr(found)
    assert found["tools"][1] == {**TOOL, "strict": None}
    assert found["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert (found["temperature"], found["top_p"]) == (0.5, 1.0)
    assert (found["safety_identifier"], found["truncation"], found["store"]) == (None, "disabled", True)
    shape = {"type": "json_schema", "name": "a", "schema": {}}
    assert begun(body_of(text={"format": shape}))["text"] == {"format": shape, "verbosity": "medium"}


# Truncation.


def said(role: Any, text: str = "x" * 100, **fields: Any) -> Message:
    return Message(role=role, content=text, **fields)


def too_long(tokens: int, limit: int) -> ContextLengthExceeded:
    return ContextLengthExceeded("too long", prompt_tokens=tokens, context_length=limit)


def test_the_oldest_messages_are_dropped_until_the_rest_fits() -> None:
    given = (said("system"), *(said(role) for _ in range(4) for role in ("user", "assistant")), said("user"))
    kept = without_oldest(given, too_long(1000, 500))
    assert kept == (given[0], *given[-4:])


def test_a_call_goes_with_its_results() -> None:
    call = said("assistant", tool_calls=(ToolCall(name="f", id="a"),))
    given = (said("user", "first"), call, said("tool", tool_call_id="a"), said("user", "last"))
    assert without_oldest(given, too_long(100, 99)) == given[1:]
    assert without_oldest(given[1:], too_long(100, 99)) == given[3:]


def test_what_cannot_be_shorter_stays() -> None:
    assert without_oldest((said("system"), said("user")), too_long(100, 50)) is None
    assert without_oldest((said("user", "q"), said("assistant"), said("assistant")), too_long(100, 50)) is not None
