"""The tool ``generate_image`` as clients of the SDK see it, in both eras, over a stand-in for the host."""

from __future__ import annotations

import base64
import copy
from typing import Any

import mcp_types as types
import pytest
from jsonschema import Draft202012Validator
from mcp import Client

from modelhost.client.host_client import Picture
from modelhost.mcp_servers.server import build_server
from modelhost.operations.models import LIST
from modelhost.operations.operation import Progress
from tests.support.mcp_backend import FakeBackend


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Any:
    """How a client connects: with a handshake, or as the newest."""
    return request.param


@pytest.fixture
def backend() -> FakeBackend:
    backend = FakeBackend()
    (card, *_) = copy.deepcopy(LIST.example_answer)["models"]
    card |= {"id": "painter", "name": "painter", "engine": "diffusers", "operations": []}
    backend.results[LIST.name] = {**LIST.example_answer, "models": [card]}
    return backend


def connected(backend: FakeBackend, era: Any) -> Client:
    return Client(build_server("llm", backend, door="mcp-http"), mode=era)


async def test_images_are_content_with_progress(backend: FakeBackend, era: Any) -> None:
    shares: list[float] = []

    async def note(progress: float, _total: float | None, _message: str | None) -> None:
        shares.append(progress)

    backend.pictures = (Picture(data=b"one", seed=7), Picture(data=b"three", seed=8))
    backend.progress = (Progress(fraction=0.5, message="step 1/2"), Progress(fraction=1.0, message="step 2/2"))
    async with connected(backend, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == {"chat_completion", "model_info", "generate_image"}
        given = {"prompt": "a cat", "n": 2, "format": "webp", "seed": 7, "size": "64x64"}
        result = await client.call_tool("generate_image", given, progress_callback=note)
    images = [each for each in result.content if isinstance(each, types.ImageContent)]
    assert [(each.mime_type, base64.b64decode(each.data)) for each in images] == [
        ("image/webp", b"one"),
        ("image/webp", b"three"),
    ]
    assert result.structured_content == {
        "model": "painter",
        "mime_type": "image/webp",
        "images": [{"seed": 7, "size_bytes": 3}, {"seed": 8, "size_bytes": 5}],
    }
    Draft202012Validator(tools["generate_image"].output_schema or False).validate(result.structured_content)
    sent = {"prompt": "a cat", "n": 2, "output_format": "webp", "seed": 7, "size": "64x64", "model": "painter"}
    assert backend.bodies == [sent]
    assert shares[-1] == 1.0


async def test_the_audit_log_keeps_no_prompts(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        given = {"prompt": "secret", "negative_prompt": "secret", "seed": 1, "size": "6" * 100_000}
        await client.call_tool("generate_image", given)
    (call,) = [call for call in backend.calls if call.operation == "generate_image"]
    assert call.kept(call.values) == {"seed": 1, "size": "(100002 characters)"}


@pytest.mark.parametrize("given", [{}, {"prompt": ""}, {"prompt": "a cat", "n": 5}, {"prompt": "a cat", "steps": 0}])
async def test_what_cannot_be_made_is_refused(given: dict[str, Any], backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        result = await client.call_tool("generate_image", given)
    assert result.structured_content["error"]["code"] == "INVALID_REQUEST"
    assert backend.bodies == []
