"""Models of a hub that clients add to a running host, over every face: real downloads from a stand-in, real workers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.support.hub import HubServer, Repository, serve_hub
from tests.support.serving import ServedHost

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
MODEL = "somebody/nano-GGUF"
OTHER = "somebody/other-GGUF"
SECONDS = 60
Start = Callable[..., ServedHost]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with two models, one of them gated, and a cache of the test's own."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    content = NANO.read_bytes()
    with serve_hub(
        **{
            MODEL: Repository(files={"nano-F16.gguf": content}),
            OTHER: Repository(files={"other-F16.gguf": content + b"\0" * 4096}),
            "somebody/gated-GGUF": Repository(files={"nano-F16.gguf": content}, token="hf_secret"),  # noqa: S106
            "somebody/damaged-GGUF": Repository(files={"damaged-F16.gguf": b"GGUF, or so they say"}),
        }
    ) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def start(hub: HubServer, tmp_path: Path) -> Iterator[Start]:
    """Starts a host with the scripted engine for its own model and the real one for those that are added."""
    assert hub.endpoint
    started: list[ServedHost] = []

    def begin(**settings: Any) -> ServedHost:
        given = {"data_dir": str(tmp_path / "data"), "context_length": 256, "slots": 1, **settings}
        started.append(ServedHost(**given))
        return started[-1]

    yield begin
    for host in started:
        host.close()


def names(host: ServedHost) -> list[str]:
    return [model["id"] for model in host.http.get("/v1/models").json()["data"]]


def load(host: ServedHost, model_id: str, **more: Any) -> Any:
    return host.http.post("/v1/models/load", json={"model_id": model_id, **more}, timeout=SECONDS)


async def call(host: ServedHost, tool: str, arguments: dict[str, Any]) -> tuple[Any, list[tuple[float, str | None]]]:
    """Call a tool of the models' server; return its result, and what was told meanwhile."""
    told: list[tuple[float, str | None]] = []

    async def note(progress: float, _total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with asyncio.timeout(SECONDS), Client(f"{host.url}/mcp/models") as client:
        result = await client.call_tool(tool, arguments, progress_callback=note)
    return result, told


@pytest.mark.promise("vllm-crush.load-model.any")
def test_a_model_of_the_hub_is_loaded_listed_answers_is_unloaded_and_gone_after_a_restart(
    start: Start, hub: HubServer
) -> None:
    host = start()
    result, told = asyncio.run(call(host, "load-model", {"model_id": MODEL, "wait": True}))
    assert not result.is_error, result
    assert result.structured_content["model_id"] == MODEL
    assert result.structured_content["status"] == "loaded"
    assert told
    assert told == sorted(told)
    assert told[-1] == (1.0, "downloading nano-F16.gguf")
    assert names(host) == ["modelhost-nano", MODEL]
    said = host.client().chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello!"}], max_tokens=4
    )
    assert said.model == MODEL
    assert host.http.post("/v1/models/select", json={"model_id": MODEL}).json()["status"] == "ready"
    assert names(host)[0] == MODEL
    assert host.http.post("/v1/models/unload", json={"model_id": MODEL}).json()["status"] == "unloaded"
    assert MODEL in names(host)
    served = hub.bytes_served
    host.close()
    again = start()
    assert names(again) == ["modelhost-nano"]
    assert load(again, MODEL, wait=True).json()["status"] == "loaded"  # from the cache
    assert hub.bytes_served == served


def test_what_the_hub_does_not_give_is_an_error_that_leaves_nothing(start: Start, hub: HubServer) -> None:
    host = start()
    for model, code, said in (
        ("somebody/nothing-GGUF", "download_failed", "somebody/nothing-GGUF is not on"),
        ("somebody/gated-GGUF", "download_failed", "accept its licence"),
        (f"{MODEL}:Q2_K", "download_failed", "has no 'Q2_K'; it has nano-F16.gguf"),
        ("somebody/damaged-GGUF", "model_file_invalid", "damaged-F16.gguf"),
        ("./models/nano.gguf", "model_not_allowed", "--allow-models any"),
    ):
        error = load(host, model).json()["error"]
        assert error["code"] == code
        assert said in error["message"]
    hub.fail_api_with = 503
    assert "answered HTTP 503; try again later" in load(host, MODEL).json()["error"]["message"]
    assert names(host) == ["modelhost-nano"]


async def test_two_loads_of_one_id_are_one_download(start: Start, hub: HubServer) -> None:
    host = start()
    ways = [call(host, "load-model", {"model_id": MODEL}) for _ in range(2)]
    results = await asyncio.gather(*ways, call(host, "pull-model", {"model": f"hf://{MODEL}"}))
    assert [result.is_error for result, _ in results] == [False, False, False]
    assert results[2][0].structured_content["model_id"] == MODEL
    assert hub.bytes_served == NANO.stat().st_size
    assert names(host) == ["modelhost-nano", MODEL]


def test_the_commands_show_downloads_of_the_host_and_say_the_way_out(start: Start) -> None:
    host = start(allow_models="hub")
    loaded = _modelhost("models", "load", MODEL, "--wait", "--url", host.url)
    assert (loaded.returncode, loaded.stdout) == (0, f"{MODEL}: ready\n")
    assert "downloading nano-F16.gguf: 100 %" in loaded.stderr
    pulled = _modelhost("models", "pull", OTHER, "--url", host.url)
    assert Path(pulled.stdout.strip()).name == "other-F16.gguf"
    assert names(host) == ["modelhost-nano", MODEL, OTHER]
    refused = _modelhost("models", "load", str(NANO), "--url", host.url)
    assert refused.returncode == 1
    assert "--allow-models any" in refused.stderr


def test_a_file_of_this_machine_is_added_where_any_may_be(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(NANO.read_bytes())
    host = start(engine="scripted", allow_models="any")
    # The engine of the host's own model is that of those that it adds.
    assert load(host, str(path)).json()["model_id"] == str(path)
    host.close()
    real = start(allow_models="any")
    assert load(real, str(path), wait=True).json()["status"] == "loaded"
    missing = load(real, str(tmp_path / "none.gguf")).json()["error"]
    assert missing["code"] == "model_file_missing"
    assert names(real) == ["modelhost-nano", str(path)]


def test_a_saved_state_brings_added_models_back(start: Start) -> None:
    host = start()
    load(host, MODEL, wait=True)
    assert host.http.post("/v1/state/save", json={"session_id": "night"}).status_code == 200
    host.close()
    again = start()
    restored = again.http.post("/v1/state/load", json={"session_id": "night", "wait": True}, timeout=SECONDS).json()
    assert restored.get("missing_models", []) == [], restored
    assert MODEL in names(again)
    assert again.http.get(f"/v1/models/{MODEL}/info").json()["status"] == "loaded"
    again.close()
    closed = start(allow_models="registry")
    refused = closed.http.post("/v1/state/load", json={"session_id": "night", "wait": True}, timeout=SECONDS)
    assert MODEL in json.dumps(refused.json())
    assert MODEL not in names(closed)


def _modelhost(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "modelhost", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
