"""``serve org/name``: a model that comes from a hub, here from a stand-in that speaks the hub's HTTP API."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session, constants

from modelhost.host import Host
from tests.support.hub import Repository, serve_hub
from tests.support.media_files import write_vision_encoder
from tests.support.serving import ServedHost, ServeFailed

NANO = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
NANO_HF = Path(__file__).parents[2] / "assets" / "nano-hf"
MODEL = "somebody/nano-GGUF"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def _answer(host: ServedHost) -> str:
    messages = [{"role": "user", "content": "Hello!"}]
    completion = host.client().chat.completions.create(model=MODEL, messages=messages, temperature=0)
    return completion.choices[0].message.content


def test_a_model_of_the_hub_is_downloaded_once_and_served(monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(files={"nano-F16.gguf": NANO.read_bytes(), "README.md": b"# nano"})
    with serve_hub(**{MODEL: repository}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with ServedHost(model=f"{MODEL}:f16") as host:
            first = _answer(host)
        assert first
        served = hub.bytes_served
        assert served >= NANO.stat().st_size
    # The hub is gone now: what is here already needs none.
    with ServedHost(model=f"{MODEL}:f16") as host:
        assert _answer(host) == first


def test_a_model_of_the_hub_sees_with_the_encoder_of_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = write_vision_encoder(tmp_path / "encoder.gguf", model_width=192)
    files = {"nano-F16.gguf": NANO.read_bytes(), "mmproj-nano-F16.gguf": encoder.read_bytes()}
    with serve_hub(**{MODEL: Repository(files=files)}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with ServedHost(model=MODEL) as host:
            assert [model["sees_images"] for model in host.http.get("/v1/models").json()["data"]] == [True]


def test_a_download_that_broke_off_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    size = NANO.stat().st_size
    with serve_hub(**{MODEL: Repository(files={"nano-F16.gguf": NANO.read_bytes()})}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.cut_after.append(size // 2)
        with ServedHost(model=MODEL) as host:
            assert _answer(host)
        assert hub.ranges[-1] is not None
        assert hub.bytes_served < size * 1.2


def test_a_model_that_was_pulled_is_served_offline_until_it_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_hub(**{MODEL: Repository(files={"nano-F16.gguf": NANO.read_bytes()})}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        pulled = _modelhost("models", "pull", MODEL)
    assert pulled.returncode == 0, pulled.stderr
    assert Path(pulled.stdout.strip()).read_bytes() == NANO.read_bytes()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with ServedHost(model=MODEL) as host:
        assert _answer(host)
    assert _modelhost("models", "rm", MODEL, "--yes").returncode == 0
    refused = _modelhost("models", "pull", MODEL)
    assert refused.returncode == 1
    assert "HF_HUB_OFFLINE forbids" in refused.stderr


def _modelhost(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "modelhost", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_a_model_that_the_hub_does_not_have_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with pytest.raises(ServeFailed) as caught:
            ServedHost(model="nobody/nothing-GGUF")
    assert caught.value.returncode == 1
    assert "nobody/nothing-GGUF" in caught.value.stderr
    assert "Traceback" not in caught.value.stderr


@pytest.mark.promise("vllm-mcp.models.any", "llm-server.config.model")
async def test_a_model_in_safetensors_needs_no_word_about_its_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    files = {path.name: path.read_bytes() for path in NANO_HF.iterdir() if path.is_file()}
    with serve_hub(**{"somebody/nano": Repository(files=files)}) as hub:
        monkeypatch.setattr(
            "modelhost.models.hub.client.constants", SimpleNamespace(**{**vars(constants), "ENDPOINT": hub.endpoint})
        )
        host = Host(model="somebody/nano", context_length=256, threads=1)
        await host.start(load=False, launch={"dtype": "bf16"})
        try:
            # The first request comes before anybody knows the engine, and has a field that llama.cpp calls otherwise.
            said = await host.chat("Hello!", repetition_penalty=1.1, temperature=0, max_tokens=8)
            (model,) = host.status().models
        finally:
            await host.stop()
            close_session()
    assert said["choices"][0]["message"]["content"]
    assert (model.engine, model.engine_options) == ("transformers", {"dtype": "bfloat16"})
