"""The examples of vLLM's MCP server: through FluidMCP, and over standard input and output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.compatibility.examples import answers_of, json_of, lacks, text_of
from tests.support.fluidmcp import fluidmcp
from tests.support.mcp_stdio import StdioServer, own_host, stdio_server

ADDRESS = "http://localhost:8099/vllm/mcp"
JSON_HEADER = '-H "Content-Type: application/json"'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with fluidmcp(tmp_path_factory.mktemp("fluidmcp")) as client:
        yield client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StdioServer]:
    folder = tmp_path_factory.mktemp("stdio")
    with stdio_server("llm", *own_host(folder), cwd=folder) as started:
        yield started


def results_of(script: str, cwd: Path) -> list[dict[str, Any]]:
    """Run ``curl`` lines; return the results of the tools, none of which has failed."""
    answers = answers_of(script, cwd)
    assert [answer["result"]["isError"] for answer in answers] == [False] * script.count("curl ")
    return [answer["result"]["structuredContent"] for answer in answers]


@pytest.fixture(params=["fluidmcp", "host"])
def door(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Has an example ask FluidMCP, or the host itself.

    FluidMCP takes nothing that does not say that it is JSON, as some examples leave out: then a header is added.
    """

    def replaced(text: str) -> str:
        assert ADDRESS in text
        if request.param == "host":
            return text.replace(ADDRESS, f"{request.getfixturevalue('nano_host').url}/mcp/llm")
        url = str(request.getfixturevalue("gateway").base_url).rstrip("/")
        return text.replace(f"{ADDRESS} -d", f"{ADDRESS} {JSON_HEADER} -d").replace(ADDRESS, f"{url}/vllm/mcp")

    return replaced


@pytest.mark.parametrize(
    ("example", "field"),
    [
        pytest.param("testing-the-server.sh", "content", marks=pytest.mark.promise("vllm-mcp.curl.first")),
        pytest.param("basic.sh", "content", marks=pytest.mark.promise("vllm-mcp.examples.basic")),
        pytest.param("system-prompt.sh", "content", marks=pytest.mark.promise("vllm-mcp.examples.system")),
        pytest.param("get-model-information.sh", "model_name", marks=pytest.mark.promise("vllm-mcp.examples.info")),
    ],
)
def test_a_curl_line_is_answered(example: str, field: str, door: Callable[[str], str], tmp_path: Path) -> None:
    (result,) = results_of(door(text_of(f"vllm-mcp/{example}")), tmp_path)
    assert result[field].strip()


@pytest.mark.parametrize(
    ("example", "session_id"),
    [
        pytest.param("session.sh", "user-123", marks=pytest.mark.promise("vllm-mcp.sessions")),
        pytest.param("multi-turn.sh", "conv-001", marks=pytest.mark.promise("vllm-mcp.examples.multi-turn")),
    ],
)
def test_two_curl_lines_are_one_conversation(
    example: str, session_id: str, door: Callable[[str], str], tmp_path: Path
) -> None:
    first, second = results_of(door(text_of(f"vllm-mcp/{example}")), tmp_path)
    assert first["session_id"] == second["session_id"] == session_id
    said = first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"]
    assert second["usage"]["prompt_tokens"] > said


@pytest.mark.promise("vllm-mcp.swagger")
def test_the_gateway_has_its_page(gateway: httpx2.Client) -> None:
    assert "swagger" in gateway.get("/docs").text


@pytest.mark.promise("vllm-mcp.chat.example", "vllm-mcp.info")
@pytest.mark.parametrize("example", ["chat-completion.json", "model-info.json"])
def test_a_message_is_answered_over_standard_output(example: str, server: StdioServer) -> None:
    message = json_of(f"vllm-mcp/{example}")
    server.say(json.dumps(message))
    answer = server.line()
    assert answer["id"] == message["id"]
    assert answer["result"]["isError"] is False
    assert answer["result"]["content"][0]["text"].strip()


@pytest.mark.promise("vllm-mcp.info.fields")
def test_the_answer_of_model_info_has_the_shape_of_the_document(server: StdioServer) -> None:
    info = json.loads(server.call("model_info")["content"][0]["text"])
    assert lacks(info, json_of("vllm-mcp/model-info-response.json")) == []


@pytest.mark.promise("vllm-mcp.chat.seed")
def test_the_same_seed_and_input_give_the_same_output(server: StdioServer) -> None:
    arguments = json_of("vllm-mcp/seed.json")
    first, second = (server.call("chat_completion", **arguments)["structuredContent"] for _ in range(2))
    assert first["content"] == second["content"]
    assert server.call("chat_completion", **{**arguments, "seed": 43})["structuredContent"] != first


@pytest.mark.promise("vllm-mcp.instances")
def test_two_servers_of_one_configuration_answer_side_by_side(tmp_path: Path) -> None:
    servers = json_of("vllm-mcp/two-instances.json")["mcpServers"]
    assert list(servers) == ["vllm-1", "vllm-2"]
    for each in servers.values():
        # Of the configuration's own the command and the model, which would be downloaded, are replaced.
        assert (each["command"], each["args"]) == ("python", ["vllm_server.py"])
        each["env"]["VLLM_MODEL_NAME"] = "modelhost-nano"
    options = own_host(tmp_path)
    with (
        stdio_server("llm", *options, cwd=tmp_path, **servers["vllm-1"]["env"]) as one,
        stdio_server("llm", *options, cwd=tmp_path, **servers["vllm-2"]["env"]) as two,
    ):
        assert all(each.chat("Hello!") for each in (one, two, one))
        assert one.worker().pid != two.worker().pid


@pytest.mark.promise("vllm-mcp.debug", "vllm-crush.logging.debug")
def test_debugging_is_logged_on_standard_error(tmp_path: Path) -> None:
    options = own_host(tmp_path, engine="scripted", engine_options={"stderr_lines": 1})
    with stdio_server("llm", *options, cwd=tmp_path, **json_of("vllm-mcp/debugging.json")["env"]) as server:
        server.chat("Hello!")
        server.stdin.close()
        server.process.wait(60)
        assert server.process.stderr is not None
        log = [json.loads(line) for line in server.process.stderr.read().splitlines() if line.startswith("{")]
    assert {"debug", "info"} <= {line["level"] for line in log}
