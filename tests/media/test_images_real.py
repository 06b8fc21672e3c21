"""Images by tiny pipelines with random weights, made here: what they paint is noise, everything else is real."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import modelhost
from modelhost.config.settings import Settings
from modelhost.engines.diffusers.engine import OPTIONS
from modelhost.models.resolve.resolve import resolve
from tests.support.eventually import eventually
from tests.support.hub import Repository, serve_hub
from tests.support.image_pipelines import KINDS
from tests.support.raw_http import read_until, send_post
from tests.support.registries import chat, nano, write_registry
from tests.support.serving import ServedHost, ServeFailed

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
OFFLOADED = Path(__file__).with_name("make_offloaded.py")
SMALL = {"prompt": "a cat", "size": "64x64", "steps": 4, "seed": 3}
SIGNATURES = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}


@pytest.fixture(scope="module", params=KINDS)
def painter(request: pytest.FixtureRequest, pipelines: Path, data_dir: str) -> Iterator[ServedHost]:
    with ServedHost(model=str(pipelines / request.param), alias=["painter"], data_dir=data_dir) as host:
        yield host


@pytest.fixture(scope="module")
def diffusion(pipelines: Path, data_dir: str) -> Iterator[ServedHost]:
    with ServedHost(model=str(pipelines / "stable-diffusion"), alias=["painter"], data_dir=data_dir) as host:
        yield host


def made(host: ServedHost, path: str = GENERATIONS, **fields: Any) -> list[bytes]:
    answer = host.http.post(path, json={**SMALL, **fields})
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(each["b64_json"]) for each in answer.json()["data"]]


def with_sides(png: bytes, side: int) -> bytes:
    """``png`` with a valid header that says that it has ``side`` x ``side`` pixels."""
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]


def test_the_same_seed_gives_the_same_pixels_and_each_image_has_the_next_seed(painter: ServedHost) -> None:
    one, two = made(painter, n=2)
    assert made(painter) == [one]
    assert made(painter, seed=4) == [two] != [one]


def test_steps_and_partial_images_are_streamed(painter: ServedHost) -> None:
    with painter.client().images.generate(
        model="painter",
        prompt="a cat",
        size="64x64",
        stream=True,
        partial_images=2,
        extra_body={"steps": 4, "seed": 3, "progress": True},
    ) as stream:
        events = list(stream)
    kinds = [event.type.removeprefix("image_generation.") for event in events]
    assert [kind for kind in kinds if kind != "progress"] == ["partial_image", "partial_image", "completed"]
    assert kinds.count("progress") == 1 + 4
    assert base64.b64decode(events[-1].b64_json) == made(painter)[0]


def test_an_image_is_edited_as_a_whole_and_in_a_part(painter: ServedHost) -> None:
    (original,) = made(painter)
    mask = made(painter, seed=9)[0]
    images = painter.client().images
    edit = {"model": "painter", "prompt": "a dog", "extra_body": {"steps": 4, "seed": 1}}
    whole = images.edit(image=original, **edit)
    again = images.edit(image=[original], **edit)
    part = images.edit(image=original, mask=mask, **edit)
    assert whole.size == "64x64"
    assert whole.data[0].b64_json == again.data[0].b64_json != part.data[0].b64_json


def test_each_seed_of_an_answer_gives_its_image_again(diffusion: ServedHost) -> None:
    answer = diffusion.http.post(GENERATIONS, json={**SMALL, "n": 2, "seed": 2**32 - 1}).json()["data"]
    for image in answer:
        assert made(diffusion, seed=image["seed"]) == [base64.b64decode(image["b64_json"])]
    assert answer[0]["b64_json"] != answer[1]["b64_json"]


def test_a_size_beyond_everything_is_refused_with_one_that_can_be_made(diffusion: ServedHost) -> None:
    for size in ("100000x100000", "999999999x999999999", "4194304x8"):
        answer = diffusion.http.post(GENERATIONS, json={**SMALL, "size": size})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")
        assert size in answer.json()["error"]["message"]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_each_format_is_written(form: str, diffusion: ServedHost) -> None:
    assert made(diffusion, output_format=form)[0].startswith(SIGNATURES[form])


def test_a_negative_prompt_changes_the_image(diffusion: ServedHost) -> None:
    assert made(diffusion, negative_prompt="a dog") != made(diffusion)


@pytest.mark.parametrize(
    ("path", "fields", "status", "code"),
    [
        (GENERATIONS, {"size": "100x64"}, 400, "invalid_request"),
        (GENERATIONS, {"size": "8192x8192"}, 400, "invalid_request"),
        (GENERATIONS, {"steps": 1000}, 400, "invalid_request"),
        (GENERATIONS, {"prompt": "cat " * 100}, 400, "context_length_exceeded"),
        (GENERATIONS, {"negative_prompt": "dog", "guidance": 1}, 400, "invalid_request"),
        (EDITS, {"image": base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(99)).decode()}, 400, "invalid_image"),
        (EDITS, {"image": base64.b64encode(b"GIF89a").decode()}, 400, "invalid_image"),
    ],
)
def test_what_cannot_be_made_is_refused_and_the_worker_lives(
    path: str, fields: dict[str, Any], status: int, code: str, diffusion: ServedHost
) -> None:
    made(diffusion)
    before = diffusion.worker_pids()
    answer = diffusion.http.post(path, json={**SMALL, **fields})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    made(diffusion)
    assert diffusion.worker_pids() == before


def test_a_huge_image_and_a_mask_that_does_not_fit_are_refused(diffusion: ServedHost) -> None:
    (small,) = made(diffusion)
    (wide,) = made(diffusion, size="128x64")
    files = {"image": ("a.png", small), "mask": ("b.png", wide)}
    answer = diffusion.http.post(EDITS, data={"prompt": "a cat"}, files=files)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")
    answer = diffusion.http.post(EDITS, data={"prompt": "a cat"}, files={"image": with_sides(small, 65_535)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    damaged = small[:16] + (65_535).to_bytes(4, "big") * 2 + small[24:]  # the checksum of its header is wrong
    answer = diffusion.http.post(EDITS, data={"prompt": "a cat"}, files={"image": damaged})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")


def test_options_of_the_engine_change_the_image(pipelines: Path, data_dir: str, diffusion: ServedHost) -> None:
    lora = str(pipelines / "pytorch_lora_weights.safetensors")
    options = [
        {"scheduler": "EulerAncestralDiscreteScheduler"},
        {"lora": lora},
        {"lora": {lora: 0.5}},
        {"dtype": "bfloat16", "tiling": True},
    ]
    found = made(diffusion)
    model = str(pipelines / "stable-diffusion")
    for each in options:
        with ServedHost(model=model, alias=["painter"], data_dir=data_dir, engine_options=each) as host:
            found += made(host)
    assert len(set(found)) == len(options) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_computes_in_16_bits_and_decodes_in_tiles(kind: str, pipelines: Path, data_dir: str) -> None:
    model, images = str(pipelines / kind), set()
    for options in ({"dtype": "float32"}, {"dtype": "bfloat16"}, {"dtype": "float32", "tiling": True}):
        with ServedHost(model=model, alias=["painter"], data_dir=data_dir, engine_options=options) as host:
            images |= {*made(host, size="256x256", steps=2)}
    assert len(images) == 3


@pytest.mark.parametrize("wanted", ["", ":fp16"])
def test_a_pipeline_is_served_from_the_hub(wanted: str, pipelines: Path, data_dir: str, tmp_path: Path) -> None:
    folder = pipelines / "stable-diffusion"
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    weights = {name: data for name, data in files.items() if name.endswith(".safetensors")}
    halves = {name.replace(".safetensors", ".fp16.safetensors"): data for name, data in weights.items()}
    others = {name.replace(".safetensors", ".bin"): data + b"\0" for name, data in weights.items()}
    with serve_hub(**{"org/painter": Repository(files=files | halves | others)}) as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path)}
        model = f"org/painter{wanted}"
        with ServedHost(model=model, alias=["painter"], data_dir=data_dir, environment=environment) as host:
            (image,) = made(host)
    assert image.startswith(SIGNATURES["png"])
    assert hub.bytes_served == sum(map(len, files.values()))


@pytest.mark.parametrize("way", ["model", "sequential"])
@pytest.mark.parametrize("kind", ["stable-diffusion", "flux"])
def test_nothing_stays_on_the_gpu_that_was_offloaded(kind: str, way: str, pipelines: Path, image_python: str) -> None:
    """With the CPU in the place of a GPU, below the interface of diffusers."""
    command = [image_python, "-W", "ignore", str(OFFLOADED), str(pipelines / kind), json.dumps(dict(OPTIONS))]
    source = str(Path(modelhost.__file__).parents[1])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True, check=True)
    plain, offloaded = (json.loads(done.stdout)[name] for name in ("none", way))
    assert offloaded["made"]["images"] == offloaded["again"]["images"] == plain["made"]["images"]
    assert [len(offloaded[name]["images"]) for name in ("made", "partial", "edited", "failed")] == [1, 3, 1, 0]
    assert offloaded["failed"]["status"] == offloaded["edit_failed"]["status"] == [507]
    assert (offloaded["cancelled"]["steps"], plain["cancelled"]["steps"]) == (2, 2)  # of four
    assert {name: each["left"] for name, each in offloaded.items() if each["left"]} == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scheduler": "NoScheduler"}, "EulerDiscreteScheduler"),
        ({"lora": "none.safetensors"}, "which is no file"),
        ({"offload": "model"}, "needs a GPU"),
    ],
)
def test_an_option_that_does_not_fit_is_named_when_the_model_is_loaded(
    options: dict[str, Any], says: str, pipelines: Path, data_dir: str
) -> None:
    with pytest.raises(ServeFailed, match=says):
        ServedHost(model=str(pipelines / "stable-diffusion"), data_dir=data_dir, engine_options=options)


def test_a_pipeline_of_another_kind_is_refused_when_it_is_loaded(
    pipelines: Path, data_dir: str, tmp_path: Path
) -> None:
    shutil.copytree(pipelines / "stable-diffusion", tmp_path / "other")
    index = tmp_path / "other" / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"))
    with pytest.raises(ServeFailed, match="makes no images from texts alone"):
        ServedHost(model=str(tmp_path / "other"), data_dir=data_dir)


def test_an_adapter_for_another_kind_of_model_is_named(pipelines: Path, data_dir: str) -> None:
    lora = {"lora": str(pipelines / "pytorch_lora_weights.safetensors")}
    with pytest.raises(ServeFailed, match="is an adapter for another kind of model") as failed:
        ServedHost(model=str(pipelines / "flux"), data_dir=data_dir, engine_options=lora)
    assert "Download or convert its files again, or correct its engine options" in failed.value.stderr


def test_a_request_for_files_that_cannot_be_loaded_gets_a_code_and_no_traceback(
    pipelines: Path, data_dir: str, tmp_path: Path
) -> None:
    shutil.copytree(pipelines / "stable-diffusion", tmp_path / "broken")
    unet = tmp_path / "broken" / "unet" / "config.json"
    unet.write_text(json.dumps({**json.loads(unet.read_text()), "mid_block_type": "NoSuchBlock"}))
    registry = write_registry(
        tmp_path / "models.yaml", nano("nano"), {"name": "painter", "local_path": str(tmp_path / "broken")}
    )
    with ServedHost(models_config=registry, data_dir=data_dir) as host:
        loaded = host.http.post("/v1/models/load", json={"model_id": "painter", "wait": True})
        asked = host.http.post(GENERATIONS, json={**SMALL, "model": "painter"})
        logged = host.log_events("worker_start_failed")
    codes = [answer.json()["error"]["code"] for answer in (loaded, asked)]
    assert codes == ["model_file_invalid", "model_failed"], loaded.text
    assert "NoSuchBlock" in asked.text
    assert not [said for said in ("Traceback", "tried again") if said in asked.text]
    assert any("NoSuchBlock" in line for line in logged[-1]["stderr"])


def test_a_client_that_leaves_frees_the_model_within_a_step(diffusion: ServedHost) -> None:
    body = {**SMALL, "size": "512x512", "steps": 150, "stream": True, "progress": True}
    with send_post(diffusion.url, GENERATIONS, body) as connection:
        read_until(connection, b'"step":2')
    eventually(lambda: diffusion.metric("modelhost_requests_in_flight") == 0)
    made(diffusion)


def test_after_a_crash_in_the_middle_the_request_that_waits_gets_its_image(diffusion: ServedHost) -> None:
    (expected,) = made(diffusion)
    body = {**SMALL, "size": "512x512", "steps": 150, "stream": True, "progress": True}
    with ThreadPoolExecutor(1) as beside, send_post(diffusion.url, GENERATIONS, body) as connection:
        read_until(connection, b'"step":2')
        waiting = beside.submit(made, diffusion)
        eventually(lambda: diffusion.metric("modelhost_requests_in_flight") == 2)
        (worker,) = diffusion.worker_pids()
        os.kill(worker, signal.SIGKILL)
        assert b"worker_crashed" in read_until(connection, b"worker_crashed")
        assert waiting.result() == [expected]
    assert "torchvision" not in diffusion.stderr  # the last lines of the worker are about the crash


def test_memory_is_back_after_an_unload(diffusion: ServedHost) -> None:
    made(diffusion)
    eventually(lambda: diffusion.metric("modelhost_model_memory_bytes") > 0)
    (worker,) = diffusion.worker_pids()
    assert diffusion.http.post("/v1/models/unload", json={"model_id": "painter"}).status_code == 200
    assert not Path(f"/proc/{worker}").exists()
    assert diffusion.metric("modelhost_model_memory_bytes") == 0
    made(diffusion)


def test_an_image_and_a_chat_model_take_turns_under_a_budget(pipelines: Path, data_dir: str, tmp_path: Path) -> None:
    path = str(pipelines / "flux")
    entries = nano("nano"), {"name": "painter", "local_path": path}
    registry = write_registry(tmp_path / "models.yaml", *entries)
    need = resolve(Settings(model=path, data_dir=data_dir)).need_bytes["ram"]
    with ServedHost(models_config=registry, memory_budget=str(need + 1_000_000), data_dir=data_dir) as host:
        for turn in (1, 2):
            assert chat(host, "nano", max_tokens=2).status_code == 200
            assert len(host.worker_pids()) == 1
            made(host, model="painter")
            assert len(host.worker_pids()) == 1
            assert host.metric("modelhost_model_loads_total", model="painter") == turn
