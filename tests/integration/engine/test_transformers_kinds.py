"""Models on transformers that write no text: Whisper, VITS, sentence embeddings. Their weights are random."""

from __future__ import annotations

import base64
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import yaml

from tests.support.eventually import eventually
from tests.support.media_files import wav
from tests.support.nano_hf import NANO_HF
from tests.support.raw_http import read_until, send_post
from tests.support.registries import NANO
from tests.support.serving import ServedHost, ServeFailed
from tests.support.session_talk import post, refusal
from tests.support.tiny_models import (
    LIMIT,
    WIDTH,
    with_old_names,
    without_tensors,
    write_embedder,
    write_voice,
    write_whisper,
)
from tests.support.tiny_vision import write_llava

TRANSCRIPTIONS, SPEECH, EMBEDDINGS = "/v1/audio/transcriptions", "/v1/audio/speech", "/v1/embeddings"
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def write_pooled(folder: Path) -> Path:
    return write_embedder(folder, pooling=MEAN)


def write_nano(folder: Path) -> Path:
    return Path(shutil.copytree(NANO_HF, folder, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    with ServedHost(model=str(write_whisper(tmp_path_factory.mktemp("whisper")))) as started:
        yield started


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    with ServedHost(model=str(write_voice(tmp_path_factory.mktemp("voice")))) as started:
        yield started


@pytest.fixture(scope="module")
def embedder_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pooled(tmp_path_factory.mktemp("embedder"))


@pytest.fixture(scope="module")
def embedder(embedder_files: Path) -> Iterator[ServedHost]:
    with ServedHost(model=str(embedder_files)) as started:
        yield started


def transcribe(host: ServedHost, data: bytes, **fields: Any) -> httpx2.Response:
    return host.http.post(TRANSCRIPTIONS, files={"file": ("a.wav", data, "audio/wav")}, data=fields)


def speak(host: ServedHost, text: str = "One two. Three!", **fields: Any) -> httpx2.Response:
    return host.http.post(SPEECH, json={"input": text, "response_format": "pcm", **fields})


def embed(host: ServedHost, given: Any, **fields: Any) -> Any:
    answer = host.http.post(EMBEDDINGS, json={"input": given, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def operations(host: ServedHost) -> tuple[list[str], str]:
    (card,) = host.http.get("/v1/models").json()["data"]
    return card["operations"], card["engine"]


def test_models_are_recognised_by_their_files(whisper: ServedHost, voice: ServedHost, embedder: ServedHost) -> None:
    found = [operations(host) for host in (whisper, voice, embedder)]
    assert found == [([task], "transformers") for task in ("transcription", "speech", "embeddings")]
    for host in (whisper, voice, embedder):
        assert refusal(post(host, "Hi")) == (400, "unsupported_operation")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a model of each kind of sound."""
    folder = tmp_path_factory.mktemp("registry")
    write_whisper(folder / "ears")
    write_voice(folder / "mouth")
    models = [{"name": name, "local_path": name} for name in ("ears", "mouth")]
    models += [{"name": "writer", "local_path": str(NANO_HF)}, {"name": "small", "local_path": str(NANO)}]
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": models}))
    return folder / "models.yaml"


def test_models_can_do_what_is_said_of_them_before_they_are_loaded(registry: Path) -> None:
    with ServedHost(models_config=str(registry)) as host:

        def told() -> dict[str, tuple[str, frozenset[str]]]:
            cards = host.http.get("/v1/models").json()["data"]
            return {card["id"]: (card["state"], frozenset(card["operations"])) for card in cards}

        before = told()
        for name in before:
            assert host.http.post("/v1/models/load", json={"model_id": name, "wait": True}).status_code == 200
        after = told()
        assert {state for state, _ in before.values()} == {"unloaded"}
        assert {state for state, _ in after.values()} == {"ready"}
        assert {name: can for name, (_, can) in before.items()} == {name: can for name, (_, can) in after.items()}
        assert all(can for _, can in after.values())


def test_models_that_their_files_alone_describe_are_loaded_for_a_request(registry: Path) -> None:
    with ServedHost(models_config=str(registry)) as host:
        assert speak(host, "One.", model="mouth").status_code == 200
        answer = transcribe(host, wav(1), model="ears")
        assert answer.status_code == 200, answer.text


def test_the_voices_of_a_model_that_is_not_loaded_are_listed(registry: Path) -> None:
    with ServedHost(models_config=str(registry)) as host:
        assert host.http.get("/v1/audio/voices", params={"model": "mouth"}).status_code == 200
        assert speak(host, "One.").status_code == 200


@pytest.mark.parametrize(
    ("write", "prefix", "part"),
    [
        (write_whisper, "model.decoder.layers.0.", "of its part decoder"),
        (write_voice, "text_encoder.", "of its part text_encoder"),
        (write_llava, "vision_tower.", "of its part vision_tower"),
        (write_nano, "model.layers.1.", "of its part layers"),
        (write_pooled, "encoder.layer.1.", "of its part encoder"),
    ],
)
def test_a_model_whose_files_lack_tensors_is_refused(
    write: Callable[[Path], Path], prefix: str, part: str, tmp_path: Path
) -> None:
    write(tmp_path)
    with pytest.raises(ServeFailed, match=part), ServedHost(model=str(without_tensors(tmp_path, prefix))):
        pass


def test_a_model_for_texts_does_without_the_part_that_it_does_not_use(tmp_path: Path) -> None:
    with ServedHost(model=str(without_tensors(write_pooled(tmp_path), "pooler."))) as host:
        assert host.http.post("/v1/embeddings", json={"input": "One."}).status_code == 200


def test_a_voice_with_the_names_of_older_files_speaks_as_with_the_new_ones(voice: ServedHost, tmp_path: Path) -> None:
    with ServedHost(model=str(with_old_names(write_voice(tmp_path)))) as host:
        old, new = (speak(each, "One two.", seed=3) for each in (host, voice))
    assert old.status_code == 200, old.text
    assert len(old.content) > 0
    assert old.content == new.content


def test_a_whisper_without_what_is_computed_or_tied_transcribes_as_the_complete_one(
    whisper: ServedHost, tmp_path: Path
) -> None:
    folder = without_tensors(write_whisper(tmp_path), "model.encoder.embed_positions.")
    with ServedHost(model=str(folder)) as host:
        lacking, complete = (transcribe(each, wav(2), response_format="verbose_json") for each in (host, whisper))
    assert lacking.status_code == 200, lacking.text
    assert lacking.json() == complete.json()


# Whisper.


def test_whisper_transcribes_window_by_window(whisper: ServedHost) -> None:
    answer = transcribe(whisper, wav(70, loudness=50), response_format="verbose_json")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["duration"], found["language"] in ("en", "de")) == (70.0, True)
    starts = [segment["start"] for segment in found["segments"]]
    assert starts == sorted(starts)
    assert found["segments"][-1]["seek"] > 0
    assert all(0 <= each["start"] < each["end"] <= 70 for each in found["segments"])
    assert [each["id"] for each in found["segments"]] == list(range(len(starts)))
    again = transcribe(whisper, wav(70, loudness=50), response_format="verbose_json").json()
    assert again == found


@pytest.mark.parametrize(
    "fields", [{"language": "de"}, {"prompt": "names"}, {"temperature": "0.5"}, {"response_format": "srt"}]
)
def test_whisper_takes_the_fields_of_openai(whisper: ServedHost, fields: dict[str, str]) -> None:
    answer = transcribe(whisper, wav(2), **fields)
    assert answer.status_code == 200, answer.text
    assert whisper.http.post("/v1/audio/translations", files={"file": ("a.wav", wav(2), "audio/wav")}).json()[
        "usage"
    ] == {"type": "duration", "seconds": 2.0}


@pytest.mark.parametrize(
    ("data", "fields", "code"),
    [
        (b"RIFF\0\0\0\0WAVE" + bytes(100), {}, "invalid_audio"),
        (b"ID3" + bytes(100), {}, "invalid_audio"),
        (wav(1), {"language": "fr"}, "invalid_request"),
        (wav(1), {"prompt": "a <|en|> b"}, "invalid_request"),
        (wav(1), {"prompt": "word " * 100}, "invalid_request"),
        (wav(1), {"chunking_strategy": "auto"}, "unsupported_parameter"),
        (
            wav(1),
            {"response_format": "verbose_json", "timestamp_granularities[]": "word"},
            "unsupported_parameter",
        ),
    ],
)
def test_whisper_refuses_what_it_cannot_do_and_goes_on(
    whisper: ServedHost, data: bytes, fields: dict[str, str], code: str
) -> None:
    assert refusal(transcribe(whisper, data, **fields)) == (400, code)
    assert transcribe(whisper, wav(1)).status_code == 200


def test_a_client_that_leaves_stops_whisper(whisper: ServedHost) -> None:
    cancelled = whisper.metric("modelhost_cancelled_total")
    files = {"file": ("a.wav", wav(500, rate=8_000), "audio/wav")}
    with whisper.http.stream("POST", TRANSCRIPTIONS, files=files, data={"stream": "true"}) as answer:
        assert answer.status_code == 200
        next(line for line in answer.iter_lines() if line)
    eventually(lambda: whisper.metric("modelhost_requests_in_flight") == 0)
    eventually(lambda: whisper.metric("modelhost_cancelled_total") == cancelled + 1)
    assert transcribe(whisper, wav(1)).status_code == 200


# A voice.


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_a_voice_speaks_in_each_format(voice: ServedHost, form: str) -> None:
    answer = speak(voice, response_format=form)
    assert (answer.status_code, len(answer.content) > 500) == (200, True), answer.text


def test_the_same_seed_gives_the_same_audio_and_speed_its_length(voice: ServedHost) -> None:
    first, again, other = (speak(voice, seed=seed).content for seed in (1, 1, 2))
    assert first == again != other
    assert len(speak(voice, seed=1, speed=0.5).content) > 1.3 * len(first)


def test_the_speakers_of_a_voice_are_its_voices(voice: ServedHost) -> None:
    listed = voice.http.get("/v1/audio/voices").json()
    assert [each["id"] for each in listed["voices"]] == ["0", "1"]
    assert speak(voice, seed=1, voice="0").content != speak(voice, seed=1, voice="1").content
    assert refusal(speak(voice, voice="2")) == (400, "invalid_request")


def test_a_text_without_known_characters_is_refused_and_the_worker_lives(voice: ServedHost) -> None:
    assert refusal(speak(voice, "你好")) == (400, "nothing_to_speak")
    assert speak(voice, "你好. Hello.").status_code == 200


def test_a_client_that_leaves_stops_a_voice(voice: ServedHost) -> None:
    cancelled = voice.metric("modelhost_cancelled_total")
    body = {"input": "One two three. " * 250, "response_format": "pcm"}
    with closing(send_post(voice.url, SPEECH, body)) as connection:
        read_until(connection, b"\r\n\r\n")
    eventually(lambda: voice.metric("modelhost_requests_in_flight") == 0)
    eventually(lambda: voice.metric("modelhost_cancelled_total") == cancelled + 1)


def test_a_request_that_waits_in_a_worker_that_is_killed_is_answered_by_the_next_one(voice: ServedHost) -> None:
    body = {"input": "One two three. " * 250, "response_format": "pcm"}
    (worker,) = voice.worker_pids()
    with (
        ThreadPoolExecutor(1) as beside,
        closing(send_post(voice.url, SPEECH, body, small_buffer=True)) as unread,
    ):
        read_until(unread, b"\r\n\r\n")
        waiting = beside.submit(speak, voice)
        eventually(lambda: voice.metric("modelhost_requests_in_flight") == 2)
        os.kill(worker, signal.SIGKILL)
        answer = waiting.result()
    assert (answer.status_code, len(answer.content) > 500) == (200, True), answer.text
    assert voice.worker_pids() != [worker]


def test_a_killed_worker_is_replaced_and_an_unloaded_one_gives_its_memory_back(voice: ServedHost) -> None:
    (worker,) = voice.worker_pids()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: speak(voice).status_code == 200)
    (name,) = [model["id"] for model in voice.http.get("/v1/models").json()["data"]]
    freed = voice.http.post("/v1/models/unload", json={"model_id": name}).json()["memory_freed_mb"]
    assert freed > 5
    assert not voice.worker_pids()
    assert voice.http.get("/v1/models/status").json()["memory"]["ram"]["used_bytes"] == 0
    assert speak(voice).status_code == 200


# Sentence embeddings.


def test_vectors_are_pooled_and_normalised_as_the_files_say(embedder: ServedHost, embedder_files: Path) -> None:
    texts = ["Hello there", "A longer text about something else"]
    answer = embed(embedder, texts)
    vectors = np.array([each["embedding"] for each in answer["data"]])
    expected, tokens = states_of(embedder_files, texts)
    means = np.array([each.mean(axis=0) for each in expected])
    assert vectors == pytest.approx(means / np.linalg.norm(means, axis=1, keepdims=True), abs=1e-5)
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def states_of(folder: Path, texts: list[str]) -> tuple[list[Any], int]:
    """Return the last states of each text, computed one by one, and the tokens of all."""
    import torch  # noqa: PLC0415 (large)
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer(text).input_ids for text in texts]
    with torch.no_grad():
        states = [model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]
    return states, sum(map(len, rows))


def test_embeddings_come_as_clients_want_them(embedder: ServedHost) -> None:
    (plain,) = embed(embedder, "Hello")["data"]
    (packed,) = embed(embedder, "Hello", encoding_format="base64")["data"]
    assert np.frombuffer(base64.b64decode(packed["embedding"]), "<f4") == pytest.approx(plain["embedding"], abs=1e-6)
    many = embed(embedder, [f"Text {number}" for number in range(40)])["data"]
    assert [each["index"] for each in many] == list(range(40))
    assert len(embed(embedder, [[1, 2, 3], [4]])["data"]) == 2
    (name,) = [model["id"] for model in embedder.http.get("/v1/models").json()["data"]]
    assert len(embedder.client().embeddings.create(model=name, input="Hello").data[0].embedding) == WIDTH


def test_a_text_that_is_too_long_is_refused_and_never_cut(embedder: ServedHost) -> None:
    answer = embedder.http.post(EMBEDDINGS, json={"input": ["Hello", "word " * LIMIT]})
    assert refusal(answer) == (400, "context_length_exceeded")
    assert f"{LIMIT} tokens" in answer.json()["error"]["message"]
    assert refusal(embedder.http.post(EMBEDDINGS, json={"input": ""})) == (400, "invalid_request")


def test_dense_layers_and_other_poolings_are_done_in_order(tmp_path: Path) -> None:
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": False, "pooling_mode_mean_tokens": False}
    folder = write_embedder(tmp_path / "dense", pooling=pooling, normalises=False, dense=8)
    with ServedHost(model=str(folder)) as host:
        (found,) = embed(host, "Hello there")["data"]
    import torch  # noqa: PLC0415 (large)
    from safetensors.torch import load_file  # noqa: PLC0415

    weights = load_file(folder / "2_Dense" / "model.safetensors")
    (states,), _ = states_of(folder, ["Hello there"])
    expected = torch.tanh(weights["linear.weight"] @ torch.tensor(states[0]) + weights["linear.bias"])
    assert found["embedding"] == pytest.approx(expected.tolist(), abs=1e-5)
