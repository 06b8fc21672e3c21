"""Requests of Anthropic's API as chat requests: tools, thinking, formats, and what an engine does not support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from modelhost.engines import ENGINES
from modelhost.errors import InvalidRequest
from modelhost.exchange.requests import ChatRequest, McpOptions, OutputFormat, RemoteMcpServer
from modelhost.http.anthropic.bodies import CountTokensRequest, MessagesRequest
from modelhost.http.anthropic.parse import ThinkingFormat, chat_request, conversation_of
from modelhost.http.validation import checked

Json = dict[str, Any]
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Json = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}
HELLO = [{"role": "user", "content": "Hi"}]
SERVERS = ("files", "mail")
FREE_ENGINE = "mlx"
"""An engine that has to be asked to continue the last message."""


def parse(engine: str = "llamacpp", **fields: Any) -> tuple[ChatRequest, ThinkingFormat]:
    body = checked(MessagesRequest, {"max_tokens": 10, "messages": HELLO, **fields})
    return chat_request(body, ENGINES[engine], lambda _text, _: True, is_stable=True, known_servers=SERVERS)


def request_of(engine: str = "llamacpp", **fields: Any) -> ChatRequest:
    return parse(engine, **fields)[0]


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.message.startswith(f"{caught.value.param}: ")
    return caught.value


def test_the_fields_of_a_request() -> None:
    found = request_of(
        model="m",
        max_tokens=7,
        temperature=1,
        top_p=0.5,
        top_k=4,
        stop_sequences=["a", "b"],
        stream=True,
        include_progress=True,
        session_id="s",
        system="Be brief.",
    )
    assert (found.model, found.session_id) == ("m", "s")
    sampling = found.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k) == (7, 1.0, 0.5, 4)
    assert (sampling.stop, found.names_stop) == (("a", "b"), True)
    assert (found.is_streamed, found.include_progress) == (True, True)
    assert [(message.role, message.text) for message in found.messages] == [("system", "Be brief."), ("user", "Hi")]


def test_what_is_left_out_is_left_to_the_host() -> None:
    found = request_of(stop_sequences=[])
    assert (found.sampling.stop, found.names_stop, found.is_streamed, found.include_progress) == (None,) + (False,) * 3
    assert (found.tools, found.tool_choice, found.named_tool, found.parallel_tool_calls) == (None,) * 4
    assert (found.output, found.mcp, found.session_id) == (None,) * 3


@pytest.mark.parametrize("messages", [[{"role": "assistant", "content": []}]], ids=["an empty answer"])
def test_messages_with_nothing_for_the_model_are_refused(messages: list[Json]) -> None:
    assert refusal(messages=messages).param == "messages"


# Tools.


def test_a_tool_of_the_client() -> None:
    (tool,) = request_of(tools=[{**TOOL, "type": "custom"}]).tools or ()
    assert (tool.name, tool.description, tool.parameters) == ("weather", "Tells the weather.", SCHEMA)


def test_tools_with_the_same_name_are_refused() -> None:
    error = refusal(tools=[{**TOOL, "name": "time"}, TOOL, TOOL])
    assert error.param == "tools[2].name"
    assert '"weather"' in error.message


def test_tools_that_anthropic_runs_are_noted_and_not_given_to_the_model(notes: list[str]) -> None:
    hosted = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    found = request_of(tools=[hosted, TOOL])
    assert [tool.name for tool in found.tools or ()] == ["weather"]
    assert notes == ["ignored=web_search_20250305"]
    assert request_of(tools=[hosted]).tools == ()  # the client said which tools there are


@pytest.mark.parametrize(
    ("choice", "mode", "named"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "any"}, "required", None),
        ({"type": "none"}, "none", None),
        ({"type": "tool", "name": "weather"}, None, "weather"),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)
def test_the_choice_of_a_tool(choice: Json, mode: str | None, named: str | None) -> None:
    found = request_of(tools=[TOOL], tool_choice=choice)
    assert (found.tool_choice, found.named_tool, found.parallel_tool_calls) == (mode, named, None)
    for wanted in (True, False):
        found = request_of(tools=[TOOL], tool_choice={**choice, "disable_parallel_tool_use": wanted})
        assert (found.tool_choice, found.named_tool) == (mode, named)
        assert found.parallel_tool_calls is (False if wanted else None)


# Thinking.


@pytest.mark.parametrize(
    ("thinking", "thinks", "shown"),
    [
        (None, False, ThinkingFormat()),
        ({"type": "disabled"}, False, ThinkingFormat()),
        ({"type": "adaptive"}, True, ThinkingFormat(is_shown=True)),
        ({"type": "between_tools"}, True, ThinkingFormat(is_shown=True)),
        ({"type": "adaptive", "display": "summarized"}, True, ThinkingFormat(is_shown=True)),
        ({"type": "adaptive", "display": "omitted"}, True, ThinkingFormat(is_shown=True, is_omitted=True)),
        (
            {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
            True,
            ThinkingFormat(is_shown=True, is_omitted=True),
        ),
    ],
    ids=str,
)
def test_a_model_thinks_only_when_the_request_says_so(
    thinking: Json | None, thinks: bool, shown: ThinkingFormat
) -> None:
    found, form = parse(thinking=thinking)
    assert found.extra["chat_template_kwargs"] == {"enable_thinking": thinks}
    assert form == shown


def test_a_budget_is_noted_where_the_engine_has_none(notes: list[str]) -> None:
    assert "thinking_budget_tokens" not in ENGINES[FREE_ENGINE].fields("chat")
    found = request_of(FREE_ENGINE, thinking={"type": "enabled", "budget_tokens": 1024})
    assert "thinking_budget_tokens" not in found.extra
    assert notes == ["ignored=thinking_budget_tokens"]


@pytest.mark.parametrize("thinking", [{"type": "enabled"}, {"type": "enabled", "budget_tokens": 0}], ids=str)
def test_thinking_that_is_enabled_needs_a_budget(thinking: Json) -> None:
    assert refusal(thinking=thinking).param == "thinking.budget_tokens"


@pytest.mark.parametrize(
    ("effort", "passed"), [("low", "low"), ("high", "high"), ("xhigh", "high"), ("max", "high"), ("other", "other")]
)
def test_effort(effort: str, passed: str) -> None:
    assert request_of(output_config={"effort": effort}).extra["reasoning_effort"] == passed


# The format of the answer.


@pytest.mark.parametrize(
    "fields",
    [
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "output_format": {"type": "json_schema", "schema": {}},
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        },
    ],
    ids=["the older field", "the newer field", "both"],
)
def test_the_answer_may_have_to_match_a_schema(fields: Json) -> None:
    wanted = OutputFormat(kind="json_schema", schema=SCHEMA, extra={"name": "answer", "strict": True})
    assert request_of(**fields).output == wanted
    assert request_of(output_config={"effort": "low"}).output is None


def test_a_format_that_is_no_schema_is_refused_by_its_path() -> None:
    assert refusal(output_config={"format": {"type": "json_schema"}}).param == "output_config.format.schema"
    assert refusal(output_config={"format": {"type": "text", "schema": {}}}).param == "output_config.format.type"


# MCP servers.


def servers(*names: str, **more: Any) -> list[Json]:
    return [{"type": "url", "name": name, **more} for name in names]


def options(tools: set[str], *names: str) -> McpOptions:
    return McpOptions(servers=frozenset(names), tools=frozenset(tools), field="mcp_servers")


def test_servers_of_the_host_are_chosen_by_name(notes: list[str]) -> None:
    found = request_of(mcp_servers=servers("files", "mail"))
    assert found.mcp == options({"files.*", "mail.*"}, "files", "mail")
    assert notes == []


def test_an_address_has_no_effect_and_is_noted(notes: list[str]) -> None:
    assert request_of(mcp_servers=servers("files", url="http://elsewhere")).mcp == options({"files.*"}, "files")
    assert notes == ["ignored=mcp_servers.url"]


def test_a_server_may_be_limited_to_some_tools_or_switched_off() -> None:
    given = [
        *servers("files", tool_configuration={"allowed_tools": ["read", "list"]}),
        *servers("mail", tool_configuration={"enabled": False, "allowed_tools": ["send"]}),
    ]
    assert request_of(mcp_servers=given).mcp == options({"files.read", "files.list"}, "files")
    off = servers("files", tool_configuration={"enabled": False})
    assert request_of(mcp_servers=off).mcp == options(set())
    assert request_of(mcp_servers=servers("files", tool_configuration={"allowed_tools": []})).mcp == options(
        set(), "files"
    )


@pytest.mark.parametrize(
    ("toolset", "tools"),
    [
        ({}, {"files.*"}),
        ({"default_config": {"enabled": True}, "configs": {"read": {"enabled": True}}}, {"files.*"}),
        ({"default_config": {"enabled": False}, "configs": {"read": {"enabled": True}}}, {"files.read"}),
        (
            {"default_config": {"enabled": False}, "configs": {"read": None, "list": {}, "cut": {"enabled": False}}},
            {"files.read", "files.list"},
        ),
        ({"default_config": {"enabled": False}}, set()),
    ],
    ids=["all", "all and more", "one", "several", "none"],
)
def test_a_set_of_tools_says_which_of_a_server(toolset: Json, tools: set[str], notes: list[str]) -> None:
    sets = [{"type": "mcp_toolset", "mcp_server_name": "files", **toolset}]
    found = request_of(mcp_servers=servers("files"), tools=sets)
    assert found.mcp is not None
    assert (found.mcp.servers, found.mcp.tools) == ({"files"}, tools)
    assert found.tools is None  # those of the host are given, and the client has none
    assert notes == []


def test_a_set_of_tools_may_leave_out_some_of_a_server() -> None:
    sets = [{"type": "mcp_toolset", "mcp_server_name": "files", "configs": {"cut": {"enabled": False}}}]
    found = request_of(mcp_servers=servers("files"), tools=sets)
    assert found.mcp == replace(options({"files.*"}, "files"), denied_tools=frozenset({"files.cut"}))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"default_config": "off"}, "default_config"),
        ({"default_config": {"enabled": "no"}}, "default_config.enabled"),
        ({"configs": ["cut"]}, "configs"),
        ({"configs": {"cut": "off"}}, "configs.cut"),
        ({"mcp_server_name": None}, "mcp_server_name"),
    ],
)
def test_a_malformed_set_of_tools_is_refused(fields: Json, param: str) -> None:
    sets = [{"type": "mcp_toolset", "mcp_server_name": "files", **fields}]
    assert refusal(mcp_servers=servers("files"), tools=sets).param == f"tools[0].{param}"


def test_a_client_that_lists_none_of_its_own_tools_gets_those_of_the_servers() -> None:
    hosted = {"type": "web_search_20250305", "name": "web_search"}
    for tools in ([], [hosted]):
        assert request_of(mcp_servers=servers("files"), tools=tools).tools is None


def test_a_server_that_is_not_the_hosts_needs_an_address() -> None:
    error = refusal(mcp_servers=servers("files", "elsewhere"))
    assert error.param == "mcp_servers[1].name"
    assert '"elsewhere"' in error.message


def test_tools_of_the_host_and_of_the_client_come_together() -> None:
    found = request_of(mcp_servers=servers("files"), tools=[TOOL])
    assert [tool.name for tool in found.tools or ()] == ["weather"]
    assert found.mcp == options({"files.*"}, "files")


def test_a_server_that_is_not_the_hosts_is_reached_at_its_address(notes: list[str]) -> None:
    url = "https://elsewhere/mcp"
    given = [*servers("files"), *servers("elsewhere", url=url, authorization_token="key")]  # noqa: S106
    found = request_of(mcp_servers=given).mcp
    headers = {"Authorization": "Bearer key"}
    theirs = RemoteMcpServer(name="elsewhere", url=url, headers=headers, param="mcp_servers[1].url")
    assert found == replace(options({"files.*"}, "files"), remote=(theirs,))
    assert notes == []
    assert "key" not in repr(found)
    assert url not in repr(found)


def test_a_server_elsewhere_may_be_limited_to_some_tools_or_switched_off() -> None:
    def theirs(*tools: Json, **configuration: Any) -> Sequence[RemoteMcpServer]:
        more = {"tool_configuration": configuration} if configuration else {}
        mcp = request_of(mcp_servers=servers("elsewhere", url="https://elsewhere/mcp", **more), tools=[*tools]).mcp
        assert mcp is not None
        assert mcp.servers == mcp.tools == frozenset()
        return mcp.remote

    def toolset(**fields: Any) -> Json:
        return {"type": "mcp_toolset", "mcp_server_name": "elsewhere", **fields}

    assert [(each.allowed_tools, each.denied_tools) for each in theirs()] == [(None, frozenset())]
    assert theirs(enabled=False) == ()
    assert theirs(allowed_tools=["read"])[0].allowed_tools == {"read"}
    assert theirs(toolset(configs={"cut": {"enabled": False}, "read": {}}))[0].denied_tools == {"cut"}
    only = toolset(default_config={"enabled": False}, configs={"read": {"enabled": True}})
    assert theirs(only)[0].allowed_tools == {"read"}


def test_the_own_field_of_the_host_is_an_alternative() -> None:
    assert request_of(mcp={"servers": ["files"], "max_turns": 2}).mcp == McpOptions(
        servers=frozenset({"files"}), max_turns=2
    )
    assert refusal(mcp={"servers": ["files"]}, mcp_servers=servers("files")).param == "mcp"


# A message to be continued.

PREFILLED = [*HELLO, {"role": "assistant", "content": "Good"}]


def test_the_last_message_is_continued_by_engines_that_do_so_by_themselves() -> None:
    assert not request_of(messages=PREFILLED).extra.keys() & {"continue_final_message", "add_generation_prompt"}


def test_others_are_asked_to_continue_it() -> None:
    continued = {"continue_final_message": True, "add_generation_prompt": False}
    assert continued.items() <= request_of(FREE_ENGINE, messages=PREFILLED).extra.items()
    assert not request_of(FREE_ENGINE).extra.keys() & continued.keys()


# Counting.


def test_the_prompt_that_is_counted_is_that_of_the_request() -> None:
    fields = {
        "messages": PREFILLED,
        "system": "Be brief.",
        "tools": [TOOL],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "max"},
    }
    body = checked(CountTokensRequest, fields)
    counted = conversation_of(body, ENGINES[FREE_ENGINE], lambda _text, _: True, is_stable=True)
    found = request_of(FREE_ENGINE, **fields)
    assert (counted.messages, counted.tools, counted.extra) == (found.messages, found.tools, found.extra)


def test_a_limit_of_zero_reads_the_prompt_and_cannot_be_stored() -> None:
    assert request_of(max_tokens=0).sampling.max_tokens == 1
    assert refusal(max_tokens=0, session_id="s").param == "max_tokens"
