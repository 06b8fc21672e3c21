"""``speak`` and ``transcribe``: over HTTP, over pipes with a host of its own, and over pipes beside a running host."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from tests.support.eventually import eventually
from tests.support.mcp_stdio import StdioServer, own_host, stdio_server
from tests.support.registries import nano, scripted, write_registry
from tests.support.serving import ServedHost

WAV = b"RIFF....WAVE/echo one two"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    folder = tmp_path_factory.mktemp("sound")
    with ServedHost(engine="scripted", alias=["voice"], data_dir=str(folder)) as started:
        yield started


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_over_http(host: ServedHost, era: Any) -> None:
    shares: list[float] = []

    async def note(progress: float, _total: float | None, _message: str | None) -> None:
        shares.append(progress)

    async with Client(f"{host.url}/mcp/llm", mode=era) as client:
        assert {"speak", "transcribe"} <= {tool.name for tool in (await client.list_tools()).tools}
        said = await client.call_tool("speak", {"input": "/echo one two", "format": "wav", "model": "voice"})
        audio = said.content[0]
        assert isinstance(audio, types.AudioContent)
        assert (audio.mime_type, base64.b64decode(audio.data)) == ("audio/wav", b"one two")
        file = base64.b64encode(WAV).decode()
        heard = await client.call_tool("transcribe", {"file": file}, progress_callback=note)
        assert heard.structured_content["text"] == "one two"
        assert heard.structured_content["model"] == host.http.get("/v1/models").json()["data"][0]["id"]
        assert shares[-1] == 1.0
        refused = await client.call_tool("speak", {"input": "one", "voice": "three"})
        assert refused.structured_content["error"]["code"] == "INVALID_REQUEST"
        assert "one, two" in refused.structured_content["error"]["message"]


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_a_number_beyond_64_bits_is_refused_and_in_the_audit_log(host: ServedHost, era: Any) -> None:
    seed = 2**70
    async with Client(f"{host.url}/mcp/llm", mode=era) as client:
        refused = await client.call_tool("generate_image", {"prompt": "a", "seed": seed})
        assert refused.structured_content["error"]["code"] == "INVALID_REQUEST"
        await client.call_tool("speak", {"input": "/echo one", "model": "voice"})
    answer = host.http.get("/v1/audit", params={"limit": 2})
    assert answer.status_code == 200, answer.text
    assert [entry["operation"] for entry in answer.json()["entries"]] == ["speak", "generate_image"]
    assert answer.json()["entries"][1]["arguments"] == {"seed": seed}


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_sound_of_more_than_a_mebibyte_arrives_over_http(host: ServedHost, era: Any) -> None:
    word = "w" * 2**20
    async with Client(f"{host.url}/mcp/llm", mode=era) as client:
        said = await client.call_tool("speak", {"input": f"/echo {word}", "format": "wav", "model": "voice"})
        assert base64.b64decode(said.content[0].data) == word.encode()


def own(_host: ServedHost, folder: Path) -> list[str]:
    return own_host(folder, engine="scripted", alias=["voice"])


def attached(host: ServedHost, _folder: Path) -> list[str]:
    return ["--url", host.url]


@contextmanager
def started(options: Callable[..., list[str]], host: ServedHost, folder: Path) -> Iterator[StdioServer]:
    with stdio_server("llm", *options(host, folder), cwd=folder) as server:
        server.greet()
        yield server


@pytest.mark.parametrize("options", [own, attached])
def test_over_pipes(options: Callable[..., list[str]], host: ServedHost, tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    path.write_bytes(WAV)
    with started(options, host, tmp_path) as server:
        tools = {tool["name"] for tool in server.ask("tools/list")["result"]["tools"]}
        assert tools == {"chat_completion", "speak", "transcribe", "generate_image", "model_info"}
        said = server.call("speak", input="/echo one two", response_format="opus")
        assert said["content"][0]["mimeType"] == "audio/ogg"
        assert base64.b64decode(said["content"][0]["data"]) == b"one two"
        assert server.call("transcribe", path=str(path))["content"][0]["text"] == "one two"
        path.write_bytes(b"no sound")
        refused = server.call("transcribe", path=str(path))
        assert (refused["isError"], refused["structuredContent"]["error"]["code"]) == (True, "INVALID_AUDIO")


def test_a_model_that_is_added_brings_the_tools(start_host: Callable[..., ServedHost], tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    host = start_host(models_config=write_registry(path, nano("one")))

    def names() -> set[str]:
        answer = host.http.post("/mcp/llm", json={"id": 1, "method": "tools/list"}).json()
        return {tool["name"] for tool in answer["result"]["tools"]}

    assert names() == {"chat_completion", "model_info"}
    refused = host.http.post(
        "/mcp/llm", json={"method": "tools/call", "params": {"name": "speak", "arguments": {"input": "one"}}}
    ).json()["result"]
    assert refused["structuredContent"]["error"]["code"] == "UNSUPPORTED_OPERATION"
    assert "engines install speech" in refused["structuredContent"]["error"]["message"]
    write_registry(path, nano("one"), scripted("voice"))
    eventually(lambda: names() == {"chat_completion", "speak", "transcribe", "generate_image", "model_info"})
