"""Images that really reach a model: nano on llama.cpp with a vision encoder of random weights.

What it sees is noise. That it looks is told by the tokens of its prompt, of which every image takes ``IMAGE_TOKENS``.
"""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from modelhost import Host
from modelhost.errors import WorkerStartFailed
from modelhost.models.files.media_encoder import read_media_encoder
from tests.support.mcp_peers import node_peers
from tests.support.media_files import IMAGE_TOKENS, of_each_format, png_url, write_vision_encoder
from tests.support.nano_engine import NEW_TOKENS, conversation, running
from tests.support.serving import ServedHost
from tests.support.session_talk import ask, post, refusal, stored
from tests.support.tool_hosts import chunks, config, sdk_server, told, tool_name, wait_for_tools

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
NANO_WIDTH = 192
TEXT = {"type": "text", "text": "What is this?"}
EVERYTHING = "get-tiny-image"


def image(width: int = 8, height: int = 8) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": png_url(width, height)}}


CUT_SHORT = png_url(64, 64)[:-64]
"""With a header that is whole."""


def asked(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [TEXT, *parts]}]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vision_encoder(tmp_path_factory.mktemp("eyes") / "mmproj-nano.gguf", model_width=NANO_WIDTH)


@pytest.fixture(scope="module")
def host(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """Nano that sees, with two servers whose tools return images."""
    node, script = node_peers()["server-everything"]
    everything = {"command": node, "args": [script]}
    path = config(tmp_path_factory.mktemp("seeing"), sdk=sdk_server(), everything=everything)
    with ServedHost(mmproj=str(encoder), mcp_config=path, slots=2) as started:
        yield wait_for_tools(started)


def prompt_tokens(host: ServedHost, *parts: dict[str, Any]) -> int:
    answer = post(host, asked(*parts), max_tokens=2, tools=[])
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["prompt_tokens"])


@pytest.mark.promise("mistralrs.vision")
def test_every_image_of_a_request_is_in_the_prompt(host: ServedHost) -> None:
    without = prompt_tokens(host)
    assert prompt_tokens(host, image()) == without + IMAGE_TOKENS
    assert prompt_tokens(host, image(), image(300, 20)) == without + 2 * IMAGE_TOKENS


def test_another_image_is_not_taken_for_the_one_before(host: ServedHost) -> None:
    def cached(part: dict[str, Any]) -> int:
        usage = post(host, asked(part), max_tokens=2, tools=[]).json()["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    cached(image(30, 30))
    assert cached(image(30, 30)) >= IMAGE_TOKENS
    assert cached(image(31, 31)) < IMAGE_TOKENS


def test_the_model_tells_that_it_sees(host: ServedHost, nano_host: ServedHost) -> None:
    def sees(of: ServedHost) -> Any:
        return of.http.get("/v1/models/modelhost-nano/info").json()["capabilities"]["supports_vision"]

    assert (sees(host), sees(nano_host)) == (True, False)


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("https://example.org/cat.png", "fetch_refused", "the setting fetch_urls"),
        ("file:///etc/passwd", "invalid_request", "engines fetch nothing"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "invalid_request", "is none of PNG"),
        ("data:image/png;base64,iVBORw0KGgo=", "invalid_request", "the image is damaged"),
        (CUT_SHORT, "invalid_request", "Failed to load image"),
    ],
)
def test_an_image_that_cannot_be_shown_is_the_callers_fault(host: ServedHost, url: str, code: str, words: str) -> None:
    for stream in (False, True):
        answer = post(host, asked({"type": "image_url", "image_url": {"url": url}}), stream=stream)
        assert refusal(answer) == (400, code)
        assert words in answer.json()["error"]["message"]


def test_an_enormous_image_is_refused_and_the_others_are_untouched(host: ServedHost) -> None:
    data = base64.b64encode(of_each_format(60_000, 60_000)[0]).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    assert refusal(post(host, asked(image(), part))) == (413, "request_too_large")
    assert prompt_tokens(host, image()) > IMAGE_TOKENS


def test_a_model_that_does_not_see_says_how_one_is_served_that_does(nano_host: ServedHost) -> None:
    answer = post(nano_host, asked(image()))
    assert refusal(answer) == (400, "unsupported_operation")
    assert "--mmproj FILE" in answer.json()["error"]["message"]


def test_an_image_that_a_tool_returned_is_in_the_prompt_of_the_next_turn(
    host: ServedHost, nano_host: ServedHost
) -> None:
    name = tool_name(host, "picture")
    (call,), tokens = _look(host, name)
    assert "[image/png, 70 bytes]" in call["text"]
    # The same conversation without the image, as a model gets it that does not see.
    messages = [
        {"role": "user", "content": "Look!"},
        {"role": "assistant", "content": None, "tool_calls": [_asked_for(call)]},
        {"role": "tool", "tool_call_id": call["id"], "content": call["text"]},
    ]
    tools = [tool for tool in _tools(host) if tool["function"]["name"] == name]
    without = post(nano_host, messages, tools=tools, max_tokens=1).json()["usage"]["prompt_tokens"]
    assert tokens[1] == without + IMAGE_TOKENS


def test_an_image_of_a_real_server_is_shown_to_the_model(host: ServedHost) -> None:
    (call,), tokens = _look(host, tool_name(host, EVERYTHING))
    assert (call["is_error"], call["server"]) == (False, "everything")
    assert "[image/png, " in call["text"]
    assert tokens[1] > tokens[0] + IMAGE_TOKENS


def test_a_session_keeps_what_is_told_of_a_tools_image(host: ServedHost) -> None:
    name = tool_name(host, "picture")
    forced = {"type": "function", "function": {"name": name}}
    ask(host, "Look!", "seen", tool_choice=forced, max_tokens=200, mcp={"tools": [name], "max_turns": 2})
    results = [message for message in stored(host, "seen") if message["role"] == "tool"]
    assert results
    assert all(
        isinstance(result["content"], str) and "[image/png, 70 bytes]" in result["content"] for result in results
    )
    assert ask(host, "And now?", "seen", max_tokens=2, tools=[]) is not None


def _look(host: ServedHost, tool: str) -> tuple[list[dict[str, Any]], list[int]]:
    """Have the model call ``tool``; return the call that was made, and the prompt tokens of both turns."""
    forced = {"type": "function", "function": {"name": tool}}
    fields: dict[str, Any] = {"temperature": 0, "tool_choice": forced, "stream_options": {"include_usage": True}}
    first = chunks(host, "Look!", mcp={"tools": [tool], "max_turns": 1}, **fields)[-1]["usage"]["prompt_tokens"]
    found = chunks(host, "Look!", mcp={"tools": [tool], "max_turns": 2}, **fields)
    calls = [
        {**call, **result} for call, result in zip(told(found, "tool_call"), told(found, "tool_result"), strict=True)
    ]
    return calls, [first, found[-1]["usage"]["prompt_tokens"] - first]


def _asked_for(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": "{}"}}


def _tools(host: ServedHost) -> list[dict[str, Any]]:
    listed = host.http.get("/v1/mcp/tools").json()["data"]
    return [{"type": "function", "function": tool["function"]} for tool in listed]


async def test_the_encoder_beside_a_model_is_loaded_with_it(encoder: Path, tmp_path: Path) -> None:
    shutil.copy(NANO, tmp_path / "nano-Q8_0.gguf")
    shutil.copy(encoder, tmp_path / "mmproj-F16.gguf")
    async with Host(model=str(tmp_path), threads=1) as host:
        answer = await host.chat(asked(image()), max_tokens=2)
        assert answer["usage"]["prompt_tokens"] > IMAGE_TOKENS


async def test_an_encoder_of_another_width_is_refused_with_the_engines_reason(tmp_path: Path) -> None:
    wrong = write_vision_encoder(tmp_path / "mmproj.gguf", model_width=64)
    with pytest.raises(WorkerStartFailed, match="mismatch between text model"):
        await Host(mmproj=str(wrong), threads=1).start()


async def test_a_draft_model_helps_a_model_that_sees(encoder: Path) -> None:
    async with Host(mmproj=str(encoder), draft_model=str(NANO), threads=1) as host:
        answer = await host.chat(asked(image()), temperature=0, max_tokens=8)
        assert answer["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("parts", [[], [image(20, 20)]], ids=["text", "image"])
async def test_a_prompt_cache_of_a_model_that_sees_comes_back(
    encoder: Path, tmp_path: Path, parts: list[dict[str, Any]]
) -> None:
    messages = [*conversation("Iris"), *asked(*parts)]
    async with running(mmproj=str(encoder)) as engine:
        answer = await engine.answer(messages)
        messages.append(answer["choices"][0]["message"])
        saved = await engine.save(messages, tmp_path / "cache")
        assert saved is not None
    async with running(mmproj=str(encoder)) as engine:
        assert await engine.restore(tmp_path / "cache", saved.fingerprint)
        assert await engine.talk(messages, "And now?") <= NEW_TOKENS


async def test_a_prompt_cache_is_only_for_the_encoder_that_it_was_made_with(encoder: Path, tmp_path: Path) -> None:
    messages = asked(image(20, 20))
    async with running(mmproj=str(encoder)) as engine:
        answer = await engine.answer(messages)
        saved = await engine.save([*messages, answer["choices"][0]["message"]], tmp_path / "cache")
        assert saved is not None
    other = write_vision_encoder(tmp_path / "mmproj.gguf", model_width=NANO_WIDTH, width=64)
    async with running(mmproj=str(other)) as engine:
        assert not await engine.restore(tmp_path / "cache", saved.fingerprint)


async def test_a_prompt_cache_is_of_no_use_to_a_conversation_with_another_image(encoder: Path, tmp_path: Path) -> None:
    messages = asked(image(20, 20))
    async with running(mmproj=str(encoder)) as engine:
        answer = await engine.answer(messages)
        saved = await engine.save([*messages, answer["choices"][0]["message"]], tmp_path / "cache")
        assert saved is not None
        assert await engine.restore(tmp_path / "cache", saved.fingerprint)
        usage = (await engine.answer(asked(image(21, 21))))["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] < IMAGE_TOKENS


async def test_the_estimate_covers_what_the_encoder_adds(tmp_path: Path) -> None:
    large = write_vision_encoder(tmp_path / "mmproj.gguf", model_width=NANO_WIDTH, image_size=336, width=256)
    parts = [{"type": "text", "text": "word " * 600}]
    without, added = await _peak_bytes(parts), await _peak_bytes([*parts, image(400, 400)], mmproj=str(large))
    estimate = read_media_encoder(large).need_bytes
    assert added - without <= estimate <= (added - without) * 1.3 + 10_000_000


async def _peak_bytes(parts: list[dict[str, Any]], **settings: Any) -> int:
    """Return the most memory that a worker takes that answers one message of ``parts``."""
    async with running(**settings, slots=1) as engine:
        await engine.answer([{"role": "user", "content": parts}], max_tokens=2)
        return _peak_of(engine.worker.process.pid)


def _peak_of(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
