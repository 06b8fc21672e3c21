"""Images at OpenAI's door, with the scripted engine, whose images are words behind the signature of their format."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from modelhost.errors import ModelhostError
from tests.support.eventually import eventually
from tests.support.raw_http import read_until, send_post
from tests.support.serving import ServedHost

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
StartHost = Callable[..., ServedHost]
PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"
PROMPT = "/echo one two three"


def post(host: ServedHost, path: str = GENERATIONS, **fields: Any) -> httpx2.Response:
    return host.http.post(path, json={"model": "scripted", "prompt": PROMPT, **fields})


def code_of(answer: httpx2.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def decoded(answer: httpx2.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(each["b64_json"]) for each in answer.json()["data"]]


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(("form", "head"), [(None, PNG), ("jpeg", JPEG), ("webp", WEBP)])
def test_the_image_has_its_format(form: str | None, head: bytes, scripted_host: ServedHost) -> None:
    answer = post(scripted_host, output_format=form, n=2, size="128x64", seed=5)
    assert decoded(answer) == [head + b"one two three", head + b"one two three 1"]
    body = answer.json()
    assert (body["size"], body["output_format"], body["background"]) == ("128x64", form or "png", "opaque")
    assert [each["seed"] for each in body["data"]] == [5, 6]
    assert (body["usage"]["input_tokens"], body["usage"]["images"], body["usage"]["steps"]) == (4, 2, 3)


def test_fields_without_effect_are_named_in_a_header(scripted_host: ServedHost) -> None:
    fields = {"negative_prompt": "dogs", "steps": 7, "guidance": 3, "seed": 1, "output_compression": 80}
    answer = post(scripted_host, size="64x128", output_format="webp", quality="auto", **fields)
    assert (answer.status_code, answer.headers.get("x-modelhost-notes")) == (200, None)
    answer = post(scripted_host, quality="high", style="vivid", background="auto", user="me", moderation="low")
    notes = answer.headers.get_list("x-modelhost-notes")
    assert notes == ["ignored=quality", "ignored=style", "ignored=moderation"]


def test_what_the_worker_refuses_is_refused(scripted_host: ServedHost) -> None:
    answer = post(scripted_host, size="66x64")
    assert code_of(answer)[:2] == (400, "invalid_request")
    assert "multiples of 8" in answer.json()["error"]["message"]


@pytest.mark.promise("mistralrs.images")
def test_openai_s_client_gets_images_and_edits(scripted_host: ServedHost) -> None:
    images = scripted_host.client().images
    made = images.generate(model="scripted", prompt=PROMPT, response_format="b64_json", size="auto", quality="auto")
    assert made.data is not None
    assert base64.b64decode(made.data[0].b64_json or "") == PNG + b"one two three"
    for image in (PNG + b"an image", ("a.png", PNG), [PNG]):
        edited = images.edit(model="scripted", prompt=PROMPT, image=image, mask=PNG + b"mask", n=1)  # type: ignore[arg-type]
        assert edited.usage is not None
        assert edited.usage.total_tokens == 4
    refused = scripted_host.http.post("/v1/images/variations", files={"image": PNG})
    assert code_of(refused) == (400, "unsupported_operation", None)


def test_openai_s_client_gets_an_image_with_each_event_of_a_stream(scripted_host: ServedHost) -> None:
    images = scripted_host.client().images
    with images.generate(model="scripted", prompt=PROMPT, stream=True, partial_images=2) as stream:
        events = [(event.type.removeprefix("image_generation."), base64.b64decode(event.b64_json)) for event in stream]
    assert events == [
        ("partial_image", PNG + b"one"),
        ("partial_image", PNG + b"one two"),
        ("completed", PNG + b"one two three"),
    ]
    with images.edit(model="scripted", prompt=PROMPT, image=PNG, stream=True, partial_images=1) as stream:
        assert [(event.type, bool(event.b64_json)) for event in stream] == [
            ("image_edit.partial_image", True),
            ("image_edit.completed", True),
        ]


def test_steps_are_told_on_request(scripted_host: ServedHost) -> None:
    events = events_of(post(scripted_host, stream=True, progress=True, partial_images=1).text)
    assert [event["type"].removeprefix("image_generation.") for event in events if event["type"][-5:] != "image"] == [
        *("progress",) * 4,
        "completed",
    ]
    assert [(event["step"], event["steps"]) for event in events if "step" in event] == [(n, 3) for n in range(4)]
    form = {"prompt": PROMPT, "model": "scripted", "stream": "true", "progress": "true"}
    edited = scripted_host.http.post(EDITS, files={"image": PNG}, data=form)
    assert events_of(edited.text)[0]["type"] == "image_edit.progress"


def test_each_of_several_streamed_images_is_sent_when_it_is_there(scripted_host: ServedHost) -> None:
    events = events_of(post(scripted_host, n=2, stream=True, seed=1).text)
    whole = [event for event in events if event["type"] == "image_generation.completed"]
    assert [(event["image_index"], event["seed"]) for event in whole] == [(0, 1), (1, 2)]
    assert events[-1] == whole[-1]
    assert {"type", "b64_json", "background", "created_at", "output_format", "quality", "size", "usage"} <= {*whole[0]}


def test_events_have_their_type_as_their_name_too(scripted_host: ServedHost) -> None:
    body = {"stream": True, "progress": True, "partial_images": 1}
    for path, more in ((GENERATIONS, {}), (EDITS, {"image": base64.b64encode(PNG).decode()})):
        text = post(scripted_host, path, **body, **more).text
        names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
        assert names == [event["type"] for event in events_of(text)]
        assert {name.partition(".")[2] for name in names} == {"progress", "partial_image", "completed"}


def test_each_seed_of_an_answer_may_be_asked_for(scripted_host: ServedHost) -> None:
    seeds = [each["seed"] for each in post(scripted_host, n=2, seed=2**32 - 1).json()["data"]]
    assert seeds == [2**32 - 1, 0]
    assert [post(scripted_host, seed=seed).status_code for seed in seeds] == [200, 200]


def test_edits_may_be_json(scripted_host: ServedHost) -> None:
    image = base64.b64encode(PNG + b"x").decode()
    for given in (
        {"image": image},
        {"image": f"data:image/png;base64,{image}"},
        {"images": [{"image_url": f"data:image/png;base64,{image}"}], "mask": {"image_url": image}},
    ):
        assert decoded(post(scripted_host, EDITS, strength=0.5, **given)) == [PNG + b"one two three"]


@pytest.mark.parametrize(
    ("path", "fields", "code", "param"),
    [
        (GENERATIONS, {"prompt": ""}, "invalid_request", "prompt"),
        (GENERATIONS, {"prompt": None}, "invalid_request", "prompt"),
        (GENERATIONS, {"n": 11}, "invalid_request", "n"),
        (GENERATIONS, {"size": "64"}, "invalid_request", "size"),
        (GENERATIONS, {"steps": 0}, "invalid_request", "steps"),
        (GENERATIONS, {"guidance": -1}, "invalid_request", "guidance"),
        (GENERATIONS, {"seed": -1}, "invalid_request", "seed"),
        (GENERATIONS, {"output_format": "gif"}, "invalid_request", "output_format"),
        (GENERATIONS, {"output_compression": 50}, "invalid_request", "output_compression"),
        (GENERATIONS, {"background": "transparent"}, "unsupported_parameter", "background"),
        (GENERATIONS, {"partial_images": 1}, "invalid_request", "partial_images"),
        (GENERATIONS, {"progress": True}, "invalid_request", "progress"),
        (GENERATIONS, {"stream": True, "response_format": "url"}, "invalid_request", "response_format"),
        (GENERATIONS, {"strength": 0.5}, "unsupported_parameter", "strength"),
        (EDITS, {}, "invalid_request", "image"),
        (EDITS, {"image": ["AAAA", "AAAA"]}, "invalid_request", "image"),
        (EDITS, {"image": "AAAA"}, "invalid_image", "image"),
        (EDITS, {"image": "no base64"}, "invalid_image", "image"),
        (EDITS, {"image": "data:image/png,x"}, "invalid_image", "image"),
        (EDITS, {"image": "https://example.com/a.png"}, "invalid_request", "image"),
        (EDITS, {"image": 5}, "invalid_request", "image"),
        (EDITS, {"image": base64.b64encode(PNG).decode(), "mask": "AAAA"}, "invalid_image", "mask"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_made_is_refused(
    path: str, fields: dict[str, Any], code: str, param: str, scripted_host: ServedHost
) -> None:
    assert code_of(post(scripted_host, path, **fields)) == (400, code, param)


def test_a_form_is_checked_like_json(scripted_host: ServedHost) -> None:
    def sent(files: Any, **data: str) -> httpx2.Response:
        return scripted_host.http.post(EDITS, files=files, data={"prompt": PROMPT, **data})

    assert decoded(sent({"image": PNG}, n="1", strength="1", stream="false")) == [PNG + b"one two three"]
    long = sent({"image": PNG}, prompt="é" * 33_000)
    assert code_of(long) == (400, "invalid_request", "prompt")
    assert "32000 characters" in long.json()["error"]["message"]
    assert sent({"image": PNG}, prompt=f"{PROMPT} {'é' * 31_000 + 'x' * 40}".replace("é", "€")).status_code == 200
    assert code_of(sent({"image": PNG}, n="many")) == (400, "invalid_request", "n")
    assert code_of(sent({"image": PNG}, sharpness="1")) == (400, "unsupported_parameter", "sharpness")
    assert code_of(sent({"picture": PNG})) == (400, "unsupported_parameter", "picture")
    assert code_of(sent({"mask": PNG})) == (400, "invalid_request", "image")
    assert code_of(sent({"image": PNG}, mask="AAAA")) == (400, "invalid_request", "mask")
    assert code_of(sent([("image[]", PNG), ("image[]", PNG)])) == (400, "invalid_request", "image")
    assert code_of(sent([("image", PNG), ("mask", PNG), ("mask", PNG)])) == (400, "invalid_request", "mask")


def test_a_url_is_signed_and_needs_no_key(start_host: StartHost) -> None:
    host = start_host(engine="scripted", alias=["scripted"], api_keys=["key"])
    url = post(host, response_format="url", output_format="webp").json()["data"][0]["url"]
    assert url.startswith(f"{host.url}/v1/images/files/")
    answer = httpx2.get(url, trust_env=False)
    assert (answer.content, answer.headers["content-type"]) == (WEBP + b"one two three", "image/webp")
    parts = urlsplit(url)
    for changed in (
        f"{host.url}{parts.path}",
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.replace("expires=", "expires=9"),
        f"{host.url}/v1/images/files/modelhost.db?{parts.query}",
    ):
        refused = httpx2.get(changed, trust_env=False)
        assert code_of(refused)[:2] == (404, "not_found")


def test_the_oldest_images_make_room_on_the_disk(start_host: StartHost) -> None:
    host = start_host(engine="scripted", alias=["scripted"], image_files_mb=0.00005)
    urls = [post(host, response_format="url").json()["data"][0]["url"] for _ in range(4)]
    statuses = [httpx2.get(url, trust_env=False).status_code for url in urls]
    assert statuses == [404, 404, 200, 200]
    large = post(host, response_format="url", prompt="/echo " + "word " * 50)
    assert code_of(large)[:2] == (507, "disk_full")


def test_a_form_where_json_is_read_is_told_what_to_send(scripted_host: ServedHost) -> None:
    answer = scripted_host.http.post(EDITS, data={"prompt": "a cat"})
    assert code_of(answer)[:2] == (400, "invalid_json")
    assert "multipart/form-data, where they bring files" in answer.json()["error"]["message"]


def test_a_model_that_writes_makes_no_images(nano_host: ServedHost) -> None:
    answer = nano_host.http.post(GENERATIONS, json={"prompt": "a cat"})
    assert code_of(answer) == (400, "unsupported_operation", None)
    assert "modelhost engines install diffusers" in answer.json()["error"]["message"]
    answer = nano_host.http.post(EDITS, files={"image": PNG}, data={"prompt": "a cat", "model": "modelhost-nano"})
    assert code_of(answer) == (400, "unsupported_operation", None)


def test_the_log_of_a_request_without_a_model_names_none(nano_host: ServedHost) -> None:
    nano_host.http.post(GENERATIONS, json={"prompt": "a cat"})
    nano_host.http.get("/v1/images/files/none.png")

    def logged() -> set[tuple[str, str]]:
        return {(line["operation"], line["model"]) for line in nano_host.log_events("request")}

    eventually(lambda: logged() >= {("images", ""), ("image_file", "")}, seconds=10)


def test_a_client_that_leaves_stops_the_work(scripted_host: ServedHost) -> None:
    body = {"prompt": "/hang 2 /echo one two three", "stream": True, "progress": True}
    cancelled = scripted_host.metric("modelhost_cancelled_total")
    with closing(send_post(scripted_host.url, GENERATIONS, body)) as connection:
        read_until(connection, b'"step":2')
    eventually(lambda: scripted_host.metric("modelhost_requests_in_flight") == 0)
    eventually(lambda: scripted_host.metric("modelhost_cancelled_total") == cancelled + 1)


def test_a_crash_in_the_middle_is_an_error_and_the_worker_comes_back(start_host: StartHost) -> None:
    host = start_host(engine="scripted", alias=["scripted"])
    assert code_of(post(host, prompt="/crash 2 /echo one two three"))[:2] == (502, "worker_crashed")
    eventually(lambda: post(host).status_code == 200)
    events = events_of(post(host, prompt="/crash 2 /echo one two three", stream=True, progress=True).text)
    assert events[-1]["error"]["code"] == "worker_crashed"


def test_an_answer_without_all_of_its_images_is_an_error_of_the_engine(scripted_host: ServedHost) -> None:
    assert code_of(post(scripted_host, prompt="/malformed 1 /echo one two"))[:2] == (502, "engine_error")


async def test_a_refused_request_for_images_in_python_is_recorded_for_no_model(tmp_path: Path) -> None:
    from modelhost import Host  # noqa: PLC0415

    async with Host(data_dir=str(tmp_path)) as host:
        with pytest.raises(ModelhostError, match="No model of this host can do images"):
            await host.images("a cat")
        frame = (await host.monitor.window(60)).frame
    assert [(name, cell.total("requests")) for name, cell in frame.items() if cell.total("requests")] == [("", 1)]


async def test_the_host_makes_images_in_python_too(tmp_path: Path) -> None:
    from modelhost import Host  # noqa: PLC0415
    from modelhost.exchange.images import FinishedImage, ImageStep  # noqa: PLC0415
    from modelhost.exchange.requests import ImageRequest  # noqa: PLC0415

    async with Host(engine="scripted", data_dir=str(tmp_path)) as host:
        async with host.open_images(ImageRequest(prompt="/echo one two", size=(64, 128))) as painted:
            events = [event async for event in painted.events]
        assert (painted.started.width, painted.started.height) == (64, 128)
        assert [event.step for event in events if isinstance(event, ImageStep)] == [0, 1, 2]
        assert isinstance(events[-1], FinishedImage)
        assert base64.b64decode(events[-1].base64) == PNG + b"one two"
        assert await host.images("/echo one two", n=2, size=(64, 128)) == [
            PNG + b"one two",
            PNG + b"one two 1",
        ]
        assert set((await host.monitor.window(60)).frame) == {"scripted"}
        with pytest.raises(ModelhostError, match="no PNG, JPEG or WebP"):
            host.open_images(ImageRequest(prompt="a cat", image=b"GIF89a"))
        with pytest.raises(ModelhostError, match="size: it has to be WIDTHxHEIGHT"):
            await host.images("a cat", size=(64,))
        wrong_name: Any = "speech.mp3"
        with pytest.raises(ModelhostError, match="file: give the bytes of a sound file"):
            await host.transcribe(wrong_name)
        with pytest.raises(ModelhostError, match="response_format: this returns a dictionary"):
            await host.transcribe(b"RIFF", response_format="srt")
