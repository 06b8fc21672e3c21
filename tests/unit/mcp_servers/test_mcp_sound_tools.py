"""The tools ``speak`` and ``transcribe`` as clients of the SDK see them, in both eras, over a stand-in for the host."""

from __future__ import annotations

import asyncio
import base64
import copy
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from jsonschema import Draft202012Validator
from mcp import Client

from modelhost.errors import HostUnreachable, NothingToSpeak, WorkerCrashed
from modelhost.exchange.caller import Face
from modelhost.mcp_servers.server import build_server
from modelhost.operations.models import LIST
from modelhost.operations.operation import Progress
from tests.support.mcp_backend import FakeBackend

WAV = b"RIFF....WAVE one two"
IN_BASE64 = base64.b64encode(WAV).decode()
FOR_SOUND = {"speak", "transcribe"}


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> Any:
    """How a client connects: with a handshake, or as the newest."""
    return request.param


@pytest.fixture
def backend() -> FakeBackend:
    backend = FakeBackend()
    backend.results[LIST.name] = listed("speech", "whisper")
    return backend


def listed(*engines: str) -> dict[str, Any]:
    """A list of models of these engines, each named after its engine."""
    (card, *_) = copy.deepcopy(LIST.example_answer)["models"]
    models = [{**card, "id": engine, "name": engine, "engine": engine, "operations": []} for engine in engines]
    return {**LIST.example_answer, "models": models}


def connected(backend: FakeBackend, era: Any, door: Face = "mcp-http") -> Client:
    return Client(build_server("llm", backend, door=door), mode=era)


async def names_in(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize(
    ("engines", "tools"),
    [
        (("llamacpp",), set()),
        (("llamacpp", "speech"), {"speak"}),
        (("whisper",), {"transcribe"}),
        (("speech", "whisper"), FOR_SOUND),
        (("an engine of tomorrow",), set()),
    ],
)
async def test_they_are_listed_where_models_can_do_it(
    engines: tuple[str, ...], tools: set[str], backend: FakeBackend, era: Any
) -> None:
    backend.results[LIST.name] = listed(*engines)
    async with connected(backend, era) as client:
        assert await names_in(client) == {"chat_completion", "model_info"} | tools


async def test_what_a_loaded_model_can_do_counts(backend: FakeBackend, era: Any) -> None:
    answer = listed("llamacpp")
    answer["models"][0]["operations"] = ["chat", "transcription"]
    backend.results[LIST.name] = answer
    async with connected(backend, era) as client:
        assert await names_in(client) == {"chat_completion", "model_info", "transcribe"}


async def test_what_the_files_of_a_model_tell_counts_before_it_is_loaded(backend: FakeBackend, era: Any) -> None:
    answer = listed("transformers", "llamacpp")
    answer["models"][0]["operations"] = ["speech"]
    answer["models"][1]["hears_audio"] = True
    backend.results[LIST.name] = answer
    async with connected(backend, era) as client:
        assert await names_in(client) == {"chat_completion", "model_info"} | FOR_SOUND


async def test_a_model_for_transcription_goes_before_one_that_hears(backend: FakeBackend, era: Any) -> None:
    answer = listed("llamacpp", "whisper")
    answer["models"][0]["hears_audio"] = True
    backend.results[LIST.name] = answer
    async with connected(backend, era) as client:
        result = await client.call_tool("transcribe", {"file": IN_BASE64})
    assert result.structured_content["model"] == "whisper"


async def test_without_a_host_the_others_are_listed_and_calls_say_why(backend: FakeBackend, era: Any) -> None:
    backend.results[LIST.name] = HostUnreachable("nobody answers")
    async with connected(backend, era) as client:
        assert await names_in(client) == {"chat_completion", "model_info"}
        result = await client.call_tool("speak", {"input": "Hello"})
    assert result.structured_content["error"]["code"] == "HOST_UNREACHABLE"


async def test_speech_is_audio_content(backend: FakeBackend, era: Any) -> None:
    told: list[float] = []

    async def note(progress: float, _total: float | None, _message: str | None) -> None:
        told.append(progress)

    async with connected(backend, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        given = {"text": "Hello!", "format": "wav", "voice": "heart", "speed": 1.5}
        result = await client.call_tool("speak", given, progress_callback=note)
    audio, text = result.content
    assert isinstance(audio, types.AudioContent)
    assert (audio.mime_type, base64.b64decode(audio.data)) == ("audio/wav", b"one two")
    assert result.structured_content == {"model": "speech", "mime_type": "audio/wav", "size_bytes": 7}
    assert isinstance(text, types.TextContent)
    Draft202012Validator(tools["speak"].output_schema or False).validate(result.structured_content)
    assert backend.bodies == [
        {"input": "Hello!", "voice": "heart", "response_format": "wav", "speed": 1.5, "model": "speech"}
    ]
    assert told == [1, 2]


async def test_transcript_is_text_with_times(backend: FakeBackend, era: Any) -> None:
    told: list[float] = []

    async def note(progress: float, _total: float | None, _message: str | None) -> None:
        told.append(progress)

    backend.progress = [Progress(fraction=share, message="") for share in (0.5, 1.0)]
    async with connected(backend, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        backend.progress = [Progress(fraction=share, message="") for share in (0.5, 1.0)]
        given = {"file": IN_BASE64, "language": "en", "model": "mine"}
        result = await client.call_tool("transcribe", given, progress_callback=note)
    assert result.content[0] == types.TextContent(type="text", text="one two")
    assert result.structured_content == {
        "text": "one two",
        "model": "mine",
        "language": "en",
        "duration": 2.0,
        "segments": [{"start": 0.0, "end": 2.0, "text": "one two"}],
    }
    Draft202012Validator(tools["transcribe"].output_schema or False).validate(result.structured_content)
    assert backend.bodies == [{"file": WAV, "language": "en", "model": "mine"}]
    assert told == [0.5, 1.0]


async def test_audit_keeps_neither_texts_nor_sound(backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        await client.call_tool("speak", {"input": "secret", "voice": "heart"})
        await client.call_tool("transcribe", {"file": IN_BASE64, "prompt": "secret", "language": "en"})
    kept = [(call.operation, dict(call.kept(call.values)), call.named_model) for call in backend.calls]
    assert kept == [
        ("speak", {"voice": "heart"}, "speech"),
        ("transcribe", {"language": "en"}, "whisper"),
    ]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("speak", {}, "INVALID_REQUEST"),
        ("speak", {"input": "one", "speed": 9}, "INVALID_REQUEST"),
        ("speak", {"input": "one", "format": "midi"}, "INVALID_REQUEST"),
        ("transcribe", {}, "INVALID_REQUEST"),
        ("transcribe", {"file": "§"}, "INVALID_AUDIO"),
        ("transcribe", {"file": base64.b64encode(b"text").decode()}, "INVALID_AUDIO"),
        ("transcribe", {"file": IN_BASE64, "language": "English"}, "INVALID_REQUEST"),
        ("transcribe", {"path": "/etc/passwd"}, "INVALID_REQUEST"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_a_code(
    tool: str, arguments: dict[str, Any], code: str, backend: FakeBackend, era: Any
) -> None:
    async with connected(backend, era) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert result.structured_content["error"]["code"] == code
    assert result.structured_content["error"]["details"]["suggestion"]


@pytest.mark.parametrize("error", [NothingToSpeak("nothing"), WorkerCrashed("gone", model="speech", worker="w")])
async def test_an_error_in_the_middle_is_the_result(error: Any, backend: FakeBackend, era: Any) -> None:
    backend.audio = [b"one", error]
    async with connected(backend, era) as client:
        result = await client.call_tool("speak", {"input": "one"})
    assert result.is_error
    assert result.structured_content["error"]["code"] == error.code.upper()


async def test_an_abandoned_call_ends_the_work(backend: FakeBackend) -> None:
    backend.holds = True
    async with connected(backend, "legacy") as client:
        call = asyncio.create_task(client.call_tool("speak", {"input": "one"}))
        await backend.was_asked.wait()
        call.cancel()
        await backend.was_left.wait()


async def test_a_client_that_starts_it_can_name_files_of_its_machine(
    backend: FakeBackend, era: Any, tmp_path: Path
) -> None:
    path = tmp_path / "said.wav"
    path.write_bytes(WAV)
    async with connected(backend, era, "mcp-stdio") as client:
        said = await client.call_tool("transcribe", {"path": str(path)})
        both = await client.call_tool("transcribe", {"path": str(path), "file": IN_BASE64})
        none = await client.call_tool("transcribe", {"path": str(tmp_path / "none.wav")})
        folder = await client.call_tool("transcribe", {"path": str(tmp_path)})
    assert said.structured_content["text"] == "one two"
    assert backend.bodies == [{"file": WAV, "model": "whisper"}]
    for refused in (both, none, folder):
        assert refused.structured_content["error"]["details"]["param"] == "path"


@pytest.mark.parametrize("head", ["data:audio/wav;base64,", "DATA:audio/wav;BASE64,"])
async def test_a_data_url_is_a_file_too(head: str, backend: FakeBackend, era: Any) -> None:
    async with connected(backend, era) as client:
        await client.call_tool("transcribe", {"file": head + IN_BASE64})
    assert backend.bodies == [{"file": WAV, "model": "whisper"}]


async def test_list_is_kept_for_a_minute_at_most(backend: FakeBackend) -> None:
    async with connected(backend, "auto") as client:
        assert (await client.list_tools()).ttl_ms == 60_000


@pytest.mark.usefixtures("virtual_time")
async def test_a_client_with_a_handshake_is_told_when_a_model_is_added(backend: FakeBackend) -> None:
    told: list[Any] = []

    async def note(message: Any) -> None:
        told.append(message)

    backend.results[LIST.name] = listed("llamacpp")
    async with Client(build_server("llm", backend), mode="legacy", message_handler=note) as client:
        assert client.server_capabilities.tools == types.ToolsCapability(list_changed=True)
        assert "speak" not in await names_in(client)
        await asyncio.sleep(60)
        assert told == []
        backend.results[LIST.name] = HostUnreachable("restarting")
        await asyncio.sleep(60)
        assert told == []
        backend.results[LIST.name] = listed("llamacpp", "speech")
        await asyncio.sleep(60)
        (message,) = told
        assert isinstance(message, types.ToolListChangedNotification)
        assert "speak" in await names_in(client)
    before = len(backend.ran)
    await asyncio.sleep(60)
    assert len(backend.ran) == before


@pytest.mark.usefixtures("virtual_time")
async def test_a_client_that_listens_is_told_when_a_model_is_added(backend: FakeBackend) -> None:
    backend.results[LIST.name] = listed("llamacpp")
    async with (
        Client(build_server("all", backend), mode="auto") as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        await asyncio.sleep(30)
        backend.results[LIST.name] = listed("llamacpp", "speech")
        async with asyncio.timeout(60):
            await anext(aiter(changes))
        assert "speak" in await names_in(client)
