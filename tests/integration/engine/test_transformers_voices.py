"""Dia, Bark and CSM on transformers. Their weights are random: noise, whose length the seed decides."""

from __future__ import annotations

import io
import os
import signal
import wave
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.hub import Repository, serve_hub
from tests.support.raw_http import read_until, send_post
from tests.support.serving import ServedHost, ServeFailed
from tests.support.session_talk import post, refusal
from tests.support.tiny_voices import PRESETS, RATE, write_bark, write_csm, write_dia

SPEECH = "/v1/audio/speech"
TEXT = "Hello there."
SEEDS = range(60)
"""Among so many, some let a voice end its audio, and some do not."""
WRITERS: dict[str, Callable[[Path], Path]] = {"dia": write_dia, "bark": write_bark, "csm": write_csm}


@pytest.fixture(scope="module", params=sorted(WRITERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def voice(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    with ServedHost(model=str(WRITERS[kind](tmp_path_factory.mktemp(kind) / kind))) as started:
        yield started


def speak(host: ServedHost, text: str = TEXT, **fields: Any) -> httpx2.Response:
    return host.http.post(SPEECH, json={"input": text, "response_format": "pcm", **fields})


def good_seed(host: ServedHost) -> int:
    """Return a seed with which the voice ends by itself."""
    return next(seed for seed in SEEDS if speak(host, seed=seed).status_code == 200)


def test_a_voice_is_recognised_and_speaks_in_wav_and_mp3(voice: ServedHost, kind: str) -> None:
    (card,) = voice.http.get("/v1/models").json()["data"]
    assert (card["id"], card["operations"], card["engine"]) == (kind, ["speech"], "transformers")
    assert refusal(post(voice, "Hi")) == (400, "unsupported_operation")
    seed = good_seed(voice)
    with wave.open(io.BytesIO(speak(voice, seed=seed, response_format="wav").content)) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (RATE, 1)
        assert set(sound.readframes(1_000)) != {0}
    assert speak(voice, seed=seed, response_format="mp3").headers["content-type"] == "audio/mpeg"


def test_the_same_seed_gives_the_same_audio(voice: ServedHost) -> None:
    spoken = {seed: speak(voice, seed=seed) for seed in SEEDS[:12]}
    good = {seed: answer.content for seed, answer in spoken.items() if answer.status_code == 200}
    assert len(set(good.values())) > 1
    for seed, content in list(good.items())[:2]:
        assert speak(voice, seed=seed).content == content


def test_its_voices_are_listed_and_others_refused(voice: ServedHost, kind: str) -> None:
    names = [each["id"] for each in voice.http.get("/v1/audio/voices").json()["voices"]]
    assert names == {"dia": ["S1", "S2"], "bark": list(PRESETS), "csm": [str(number) for number in range(10)]}[kind]
    assert refusal(speak(voice, voice="nobody")) == (400, "invalid_request")
    first, second = ({speak(voice, voice=name, seed=seed).content for seed in SEEDS[:8]} for name in names[:2])
    assert first != second


def test_a_text_that_is_too_long_is_refused_and_never_cut(voice: ServedHost) -> None:
    answer = speak(voice, "word " * 40)
    assert refusal(answer) == (400, "context_length_exceeded")
    assert "tokens" in answer.json()["error"]["message"]
    assert speak(voice, seed=good_seed(voice)).status_code == 200


def test_audio_that_is_too_long_is_refused_and_never_cut(voice: ServedHost, kind: str) -> None:
    texts = {"dia": TEXT, "bark": TEXT, "csm": "a" * 58}  # there, text and audio share the context
    answers = (speak(voice, texts[kind], seed=seed) for seed in SEEDS)
    answer = next(each for each in answers if each.status_code != 200 and "at most" in each.text)
    assert refusal(answer) == (400, "context_length_exceeded")
    assert "seconds at most" in answer.json()["error"]["message"]


def test_a_speed_is_refused(voice: ServedHost) -> None:
    assert refusal(speak(voice, speed=1.5)) == (400, "unsupported_parameter")


def test_a_killed_worker_is_replaced(voice: ServedHost) -> None:
    seed = good_seed(voice)
    before = speak(voice, seed=seed).content
    (worker,) = voice.worker_pids()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: speak(voice, seed=seed).content == before)
    assert voice.worker_pids() != [worker]


@pytest.mark.parametrize("kind", ["dia", "csm"])
def test_a_client_that_leaves_stops_a_voice_within_a_step(kind: str, tmp_path: Path) -> None:
    files = {
        "dia": lambda: write_dia(tmp_path / kind, frames=100_000, ends=False),
        "csm": lambda: write_csm(tmp_path / kind, context=100_000, ends=False),
    }
    with ServedHost(model=str(files[kind]())) as host:
        with closing(send_post(host.url, SPEECH, {"input": TEXT, "response_format": "pcm"})):
            eventually(lambda: host.metric("modelhost_requests_in_flight") == 1)
        eventually(lambda: host.metric("modelhost_cancelled_total") == 1)
        # one text at a time: this answer comes only once the other, which would take hours, has ended
        assert refusal(speak(host, "word " * 40_000)) == (400, "context_length_exceeded")


def test_bark_speaks_sentence_by_sentence_and_stops_within_one(tmp_path: Path) -> None:
    with ServedHost(model=str(write_bark(tmp_path / "bark", presets=()))) as host:
        assert [each["id"] for each in host.http.get("/v1/audio/voices").json()["voices"]] == ["random"]
        with closing(send_post(host.url, SPEECH, {"input": "Hello there. " * 300, "response_format": "pcm"})) as line:
            read_until(line, b"\r\n\r\n")
        eventually(lambda: host.metric("modelhost_requests_in_flight") == 0)
        seed = good_seed(host)
        assert len(speak(host, "Hello there.", seed=seed).content) > 0
        assert refusal(speak(host, "你好。")) == (400, "nothing_to_speak")


def test_names_of_voices_are_an_option(tmp_path: Path) -> None:
    with ServedHost(model=str(write_dia(tmp_path / "dia")), engine_options={"voices": {"alloy": 0, "nova": 1}}) as host:
        assert [each["id"] for each in host.http.get("/v1/audio/voices").json()["voices"]] == ["alloy", "nova"]
        tagged = {speak(host, f"[S2] {TEXT}", voice=name, seed=2).text for name in ("alloy", "nova")}
        assert len(tagged) == 1  # turns in the text say who speaks


def repository(folder: Path) -> Repository:
    """A repository of the hub with what is in ``folder``."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return Repository(files=files)


@pytest.mark.parametrize("kind", ["dia", "bark"])
def test_a_voice_from_the_hub_comes_with_all_that_it_needs(kind: str, tmp_path: Path) -> None:
    written = WRITERS[kind](tmp_path / kind)
    repositories = {f"org/{kind}": repository(written)}
    if kind == "dia":
        repositories["descript/dac_44khz"] = repository((written / "dac").rename(tmp_path / "dac"))
        repositories["org/dia"] = repository(written)
    with serve_hub(**repositories) as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        with ServedHost(model=f"org/{kind}", environment=environment) as host:
            names = [each["id"] for each in host.http.get("/v1/audio/voices").json()["voices"]]
            assert names == (["S1", "S2"] if kind == "dia" else list(PRESETS))
            good_seed(host)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda folder: write_dia(folder, has_codec=False),
            "codec of this Dia model, descript/dac_44khz, is missing",
        ),
        (lambda folder: write_csm(folder, has_codec=False), "of its part codec_model"),
    ],
)
def test_a_component_that_is_missing_is_named(write: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(ServeFailed, match=message), ServedHost(model=str(write(tmp_path / "voice"))):
        pass


def test_a_preset_without_its_files_is_no_voice_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    folder = write_bark(tmp_path / "bark")
    file = folder / "speaker_embeddings" / f"{PRESETS[1]}_coarse_prompt.npy"
    file.unlink()
    with ServedHost(model=str(folder)) as host:
        assert [each["id"] for each in host.http.get("/v1/audio/voices").json()["voices"]] == [PRESETS[0]]
        assert refusal(speak(host, voice=PRESETS[1])) == (400, "invalid_request")
        assert PRESETS[1] in host.http.get("/v1/models/bark/logs").text
    file.write_bytes(b"damaged")
    with pytest.raises(ServeFailed), ServedHost(model=str(folder)):
        pass


def test_a_damaged_checkpoint_is_named_before_it_is_loaded(tmp_path: Path) -> None:
    weights = write_dia(tmp_path / "dia") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ServeFailed, match=r"model\.safetensors"), ServedHost(model=str(weights.parent)):
        pass
