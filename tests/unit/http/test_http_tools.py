"""MCP servers and tools over HTTP, against a host in memory; and who may reach a host with tools."""

from __future__ import annotations

from typing import Any, cast

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError
from modelhost.http import server
from modelhost.http.keys import check_exposure
from modelhost.operations.table import TOOL_OPERATIONS
from tests.unit.http.test_http_administration import code_of, connected
from tests.unit.operations.fake_tools import FakeToolHost, server_status

ANYWHERE = "0.0.0.0"  # noqa: S104


@pytest.mark.promise("candle-vllm.endpoints.mcp-tools")
async def test_tools_and_servers_are_lists_as_openai_has_them() -> None:
    async with connected(FakeToolHost()) as client:
        tools = (await client.get("/v1/mcp/tools")).json()
        servers = (await client.get("/v1/mcp/servers")).json()
    assert (tools["object"], [tool["function"]["name"] for tool in tools["data"]]) == (
        "list",
        ["one_echo", "one_add/up"],
    )
    assert (servers["object"], [each["state"] for each in servers["data"]]) == ("list", ["ready", "failed"])
    assert (servers["config"], servers["config_error"]) == ("/srv/mcp.json", None)


async def test_the_query_chooses_a_server() -> None:
    async with connected(FakeToolHost()) as client:
        for what in ("tools", "resources", "prompts"):
            of_one = (await client.get(f"/v1/mcp/{what}", params={"server": "one"})).json()
            assert {each["server"] for each in of_one["data"]} == {"one"}
            missing = await client.get(f"/v1/mcp/{what}", params={"server": "three"})
            assert code_of(missing)[:2] == (404, "mcp_server_not_found")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("srever=one", (400, "unsupported_parameter", "srever")),
        ("server=", (400, "invalid_request", "server")),
        ("server=one&server=two", (400, "invalid_request", "server")),
    ],
)
async def test_a_query_is_checked_as_a_body_is(query: str, expected: tuple[int, str, str]) -> None:
    async with connected(FakeToolHost()) as client:
        assert code_of(await client.get(f"/v1/mcp/tools?{query}")) == expected


async def test_a_tool_is_called_and_its_failure_is_an_answer() -> None:
    host = FakeToolHost()
    async with connected(host) as client:
        done = await client.post("/v1/mcp/tools/one_echo/call", json={"arguments": {"text": "hi"}})
        assert (done.status_code, done.json()["text"], done.json()["is_error"]) == (200, "done", False)
        host.toolbox.hub.outcome = {"text": "too late", "is_error": True, "code": "tool_timeout"}
        failed = await client.post("/v1/mcp/tools/one_add/up/call", json={})
        assert (failed.status_code, failed.json()["code"], failed.json()["is_error"]) == (200, "tool_timeout", True)
    assert [(name, arguments) for name, arguments, _ in host.toolbox.hub.called] == [
        ("one_echo", {"text": "hi"}),
        ("one_add/up", {}),
    ]


async def test_a_tool_that_is_not_there_is_not_found() -> None:
    async with connected(FakeToolHost()) as client:
        missing = await client.post("/v1/mcp/tools/nothing/call", json={"arguments": {}})
    assert code_of(missing)[:2] == (404, "tool_not_found")


async def test_what_stands_in_the_path_needs_no_body_and_is_not_contradicted_by_one() -> None:
    async with connected(FakeToolHost()) as client:
        assert (await client.post("/v1/mcp/servers/one/restart")).json()["state"] == "connecting"
        assert (await client.post("/v1/mcp/servers/one/disable")).json()["state"] == "disabled"
        assert (await client.post("/v1/mcp/servers/one/enable", json={"name": "one"})).json()["state"] == "connecting"
        both = await client.post("/v1/mcp/servers/one/enable", json={"name": "two"})
        assert code_of(both) == (400, "invalid_request", "name")


async def test_a_server_that_is_not_there_or_cannot_be_used_is_refused() -> None:
    host = FakeToolHost()
    host.toolbox.hub.servers["bad"] = server_status("bad", why_disabled="NOPE is not set")
    async with connected(host) as client:
        assert code_of(await client.post("/v1/mcp/servers/three/restart"))[:2] == (404, "mcp_server_not_found")
        assert code_of(await client.post("/v1/mcp/servers/bad/enable"))[:2] == (503, "tool_server_unavailable")


async def test_resources_are_read_and_prompts_filled_in() -> None:
    async with connected(FakeToolHost()) as client:
        read = await client.post("/v1/mcp/resources/read", json={"server": "one", "uri": "one://all"})
        assert read.json()["contents"][0]["text"] == "all of it"
        body = {"server": "one", "name": "pack", "arguments": {"city": "Paris"}}
        filled = await client.post("/v1/mcp/prompts/get", json=body)
        assert filled.json()["messages"] == [{"role": "user", "content": "pack Paris"}]


async def test_an_answer_that_nobody_waits_for_is_not_found() -> None:
    async with connected(FakeToolHost()) as client:
        late = await client.post("/v1/mcp/approvals/gone", json={"approve": True})
        assert code_of(late)[:2] == (404, "not_found")
        body = {"action": "accept", "content": {"a": 1}}
        late = await client.post("/v1/mcp/elicitations/gone", json=body)
        assert code_of(late)[:2] == (404, "not_found")


async def test_every_operation_is_described_with_its_query_its_path_and_its_body() -> None:
    async with connected(FakeToolHost()) as client:
        document = (await client.get("/openapi.json")).json()
    for operation in TOOL_OPERATIONS:
        assert operation.route is not None
        described = document["paths"][operation.route.path][operation.route.method.lower()]
        assert described["tags"] == ["tools"]
    (query,) = document["paths"]["/v1/mcp/tools"]["get"]["parameters"]
    assert (query["name"], query["in"], query["required"]) == ("server", "query", False)
    call = document["paths"]["/v1/mcp/tools/{name}/call"]["post"]
    assert [(each["name"], each["in"]) for each in call["parameters"]] == [("name", "path")]
    assert list(call["requestBody"]["content"]["application/json"]["schema"]["properties"]) == ["arguments"]
    assert "requestBody" not in document["paths"]["/v1/mcp/servers/{name}/restart"]["post"]


async def test_the_key_is_asked_for() -> None:
    async with connected(FakeToolHost(api_keys=["sesame"])) as client:
        for method, path in (("GET", "tools"), ("GET", "servers"), ("POST", "tools/one_echo/call")):
            assert (await client.request(method, f"/v1/mcp/{path}")).status_code == 401


# Who may reach a host with tools.


def settings(**given: Any) -> Settings:
    return Settings.model_validate({"mcp_config": "mcp.json", **given})


@pytest.mark.parametrize("address", [ANYWHERE, "192.168.1.7", "::", "fe80::1%eth0"])
def test_tools_are_not_for_everybody(address: str) -> None:
    with pytest.raises(ConfigError, match="--api-key") as caught:
        check_exposure(settings(), address)
    assert "--insecure" in caught.value.message
    assert "mcp.json" in caught.value.message
    for line in ('"api_keys": ["KEY"]', '"insecure": true'):  # as JSON and YAML have them
        assert f"the line {line}" in caught.value.message


@pytest.mark.promise("llm-server.no-keys")
@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "127.0.0.1"),
        ({}, "127.0.1.1"),
        ({}, "::1"),
        ({"api_keys": ["sesame"]}, ANYWHERE),
        ({"insecure": True}, ANYWHERE),
        ({"mcp_config": None}, ANYWHERE),
    ],
)
def test_this_machine_a_key_or_a_word_is_enough(given: dict[str, Any], address: str) -> None:
    check_exposure(settings(**given), address)


@pytest.mark.promise("llm-server.no-keys")
def test_serving_tools_to_everybody_is_refused_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "Host", None)
    monkeypatch.setattr(server.logs, "setup", lambda *_: None)
    with pytest.raises(ConfigError, match="without a key"):
        server.serve(settings(host=ANYWHERE, port=0), announce=cast("Any", None))
