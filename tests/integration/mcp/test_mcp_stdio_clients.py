"""``modelhost mcp`` under the clients of the official SDKs: old and new, Python and TypeScript."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.support.mcp_clients import seen_by_old_sdk, seen_by_typescript_sdk
from tests.support.mcp_stdio import command, environment, own_host

ALL_TOOLS = {
    *("chat_completion", "speak", "transcribe", "generate_image", "model_info"),
    *("list-models", "load-model", "unload-model", "get-model-info", "set-model-config", "pull-model"),
    *("get-metrics", "get-gpu-stats", "get-memory-stats"),
    *("save-state", "load-state", "clear-state"),
}
See = Callable[[Sequence[str], Path, Mapping[str, str]], dict[str, Any]]


def scripted(folder: Path, face: str = "all") -> list[str]:
    return command("mcp", face, *own_host(folder, engine="scripted", alias=["scripted"]))


@pytest.mark.parametrize(
    ("see", "version"),
    [
        pytest.param(seen_by_old_sdk, "2025-11-25", id="Python 1.30"),
        pytest.param(seen_by_typescript_sdk, "modelhost", id="TypeScript"),
    ],
)
def test_clients_of_the_handshake_era_use_everything(see: See, version: str, tmp_path: Path) -> None:
    seen = see(scripted(tmp_path), tmp_path, environment())
    assert seen["version"] == version
    assert set(seen["tools"]) == ALL_TOOLS
    assert "model://{+model_id}/config" in seen["templates"]
    assert "model/{model_id}/config" in seen["templates"]
    assert {"model://scripted/config", "model://scripted/logs", "state://sessions"} <= set(seen["resources"])
    assert seen["text"] == seen["structured"]["content"] == "one two three"
    # The TypeScript SDK drops progress that it reads together with the answer, which ends its handler first.
    assert seen["told"]
    assert "one two three".startswith("".join(filter(None, seen["told"])))
    is_error, refused = seen["refused"]
    assert is_error is True
    assert refused["error"]["code"] == "MODEL_NOT_FOUND"
    assert isinstance(seen["config"], dict)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
async def test_the_newest_client_speaks_with_it_in_both_eras(
    mode: Literal["legacy", "2026-07-28", "auto"], tmp_path: Path
) -> None:
    first, *rest = scripted(tmp_path)
    server = StdioServerParameters(command=first, args=rest, cwd=tmp_path, env=environment())
    told: list[str | None] = []

    async def note(_progress: float, _total: float | None, message: str | None) -> None:
        told.append(message)

    async with asyncio.timeout(60), Client(stdio_client(server), mode=mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == ALL_TOOLS
        arguments = {"messages": [{"role": "user", "content": "/slow 100 /echo one two three"}]}
        answer = await client.call_tool("chat_completion", arguments, progress_callback=note)
        assert answer.structured_content is not None
        assert answer.structured_content["content"] == "".join(filter(None, told)) == "one two three"
        refused = await client.call_tool("chat_completion", {**arguments, "model": "none"})
        assert refused.is_error
        (config,) = (await client.read_resource("model://scripted/config")).contents
        assert isinstance(json.loads(config.text), dict)  # type: ignore[union-attr]


async def test_an_abandoned_call_of_the_newest_client_is_cancelled(tmp_path: Path) -> None:
    first, *rest = scripted(tmp_path)
    server = StdioServerParameters(command=first, args=rest, cwd=tmp_path, env=environment())
    long = {"messages": [{"role": "user", "content": "/slow 20 /tokens 400 go"}]}
    async with asyncio.timeout(60), Client(stdio_client(server), mode="legacy") as client:
        await client.call_tool("chat_completion", {"messages": [{"role": "user", "content": "Hi"}]})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.call_tool("chat_completion", long)
        info = await client.call_tool("get-model-info", {"model_id": "scripted"})
        assert info.structured_content is not None
        assert info.structured_content["performance"]["in_flight"] == 0
