"""Images of requests and of tools: which reach a model, and what is said of the others."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelhost.chat.images import (
    UNSEEN_TEXT,
    check_images,
    content_with_images,
    name_place,
    with_plain_urls,
    without_refused_media,
)
from modelhost.chat.media.image_files import image_type
from modelhost.chat.notes import ON_NOTE, Notes
from modelhost.engines.launch import Ready
from modelhost.errors import InvalidRequest, RequestTooLarge, UnsupportedOperation
from modelhost.exchange.media_kinds import UNREADABLE_IMAGE
from modelhost.exchange.messages import messages_of, part_json
from modelhost.exchange.requests import ChatRequest
from modelhost.tools.outcome import ToolImage, ToolOutcome, fitting
from modelhost.workers.worker import Worker
from tests.support.loop_world import Model, Tool, Tools, called, chunks_of, loop_of, said, text_of, turn
from tests.support.media_files import of_each_format, png, png_url

pytestmark = pytest.mark.usefixtures("virtual_time")

PNG = ToolImage(media_type="image/png", data=base64.b64encode(png()).decode())
SVG = ToolImage(media_type="image/svg+xml", data=base64.b64encode(b"<svg/>").decode())


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def check(part: dict[str, Any], *, sees: bool | None) -> None:
    worker = cast("Worker", SimpleNamespace(model="m", ready=Ready(url="", sees_images=sees)))
    text = {"type": "text", "text": "Look:"}
    check_images(worker, messages_of([{"role": "system", "content": "Hi"}, {"role": "user", "content": [text, part]}]))


def encoded(head: bytes) -> str:
    return f"data:image/any;base64,{base64.b64encode(head + bytes(20)).decode()}"


@pytest.mark.parametrize("data", of_each_format(30, 20), ids=image_type)
def test_images_of_every_known_format_reach_a_model_that_sees(data: bytes) -> None:
    check(image(encoded(data)), sees=True)


@pytest.mark.parametrize("data", of_each_format(9_000, 9_000), ids=image_type)
def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(data: bytes) -> None:
    with pytest.raises(RequestTooLarge, match=r"9000 x 9000 pixels, and 64 megapixels are the most") as caught:
        check(image(encoded(data)), sees=True)
    assert caught.value.param == "messages[1].content[1]"


def test_many_large_images_are_refused_together() -> None:
    parts = [image(encoded(of_each_format(8_000, 8_000)[0]))] * 5
    worker = cast("Worker", SimpleNamespace(model="m", ready=Ready(url="", sees_images=True)))
    check_images(worker, messages_of([{"role": "user", "content": parts[:4]}]))
    with pytest.raises(RequestTooLarge, match="256 megapixels together") as caught:
        check_images(worker, messages_of([{"role": "user", "content": parts}]))
    assert caught.value.param == "messages[0].content[4]"


def test_a_model_that_does_not_see_says_how_one_is_served_that_does() -> None:
    with pytest.raises(UnsupportedOperation, match=r"m takes no images, as it is served\. .*--mmproj FILE") as caught:
        check(image(png_url()), sees=False)
    assert caught.value.param == "messages[1].content[1]"


def test_a_model_that_does_not_see_says_what_its_worker_knows_of_it() -> None:
    ready = Ready(url="", sees_images=False, why_blind="The file a.json is missing.")
    worker = cast("Worker", SimpleNamespace(model="m", ready=ready))
    with pytest.raises(UnsupportedOperation) as caught:
        check_images(worker, messages_of([{"role": "user", "content": [image(png_url())]}]))
    assert caught.value.message.endswith("m takes no images, as it is served. The file a.json is missing.")


def with_junk(data: str) -> str:
    """Return an image in base64 that has other characters behind its header."""
    return f"{data[:-8]}@@@@{data[-8:]}"


def test_an_image_is_read_to_its_end_whether_it_is_in_base64() -> None:
    with pytest.raises(InvalidRequest, match=r"messages\[1\]\.content\[1\]: the image is not in base64\."):
        check(image(with_junk(png_url(64, 64))), sees=True)


def test_an_image_of_a_tool_that_is_not_in_base64_ends_no_conversation() -> None:
    damaged = ToolImage(media_type="image/png", data=with_junk(PNG.data))
    assert content_with_images(ToolOutcome(name="look", text="Here:", images=(damaged,))) == "Here:"


def shown(sees: bool | None, *messages: dict[str, Any]) -> tuple[ChatRequest, ChatRequest, list[str]]:
    """Return a request, what of it a model is shown, and the notes."""
    noted: list[str] = []
    worker = cast("Worker", SimpleNamespace(model="m", ready=Ready(url="", sees_images=sees)))
    request = ChatRequest(messages=messages_of(list(messages)))
    token = ON_NOTE.set(noted.append)
    try:
        return request, without_refused_media(worker, request, Notes("m")), noted
    finally:
        ON_NOTE.reset(token)


def test_images_that_tools_returned_are_described_to_a_model_that_does_not_see() -> None:
    look = {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "Here:"}, image(png_url())]}
    _, seen, noted = shown(False, {"role": "user", "content": "Hi"}, look)
    assert seen.messages[1].text == f"Here:{UNSEEN_TEXT}"
    assert (seen.messages[1].media, seen.messages[1].tool_call_id) == ((), "1")
    assert noted == ["ignored=image"]


@pytest.mark.parametrize(("role", "sees"), [("user", False), ("tool", True), ("tool", None)])
def test_other_images_stay(role: str, sees: bool | None) -> None:
    request, seen, noted = shown(sees, {"role": role, "content": [image(png_url())]})
    assert seen is request
    assert noted == []


def test_an_engine_that_does_not_say_gets_what_there_is() -> None:
    check(image(encoded(b"<svg/>")), sees=None)
    check({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, sees=None)
    check({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}}, sees=None)


@pytest.mark.parametrize("sees", [True, None])
@pytest.mark.parametrize(
    "part",
    [
        *(image("https://example.org/cat.png"), image("HTTP://example.org/"), image("file:///etc/passwd")),
        *(image(" http://example.org/"), image("ht\ntp://example.org/"), image("//example.org/"), image("a/cat.png")),
        {"type": "image_url", "image_url": "https://example.org/cat.png"},
        {"type": "file", "file": {"file_url": "https://example.org/a.pdf"}},
        {"type": "file", "file": {"file_data": "\x00h\nttp:\t//example.org/a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "https://example.org/a.wav"}},
        {"type": "input_audio", "audio_url": {"url": ["file:///etc/passwd"]}},
    ],
)
def test_no_engine_gets_an_address_to_fetch_from(part: dict[str, Any], sees: bool | None) -> None:
    with pytest.raises(InvalidRequest, match="engines fetch nothing: send it in the request") as caught:
        check(part, sees=sees)
    assert caught.value.param == "messages[1].content[1]"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        *((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif")),
        *((b"BM", "image/bmp"), (b"RIFF1234WEBP", "image/webp"), (b"<svg/>", None), (b"", None)),
    ],
)
def test_the_type_of_an_image_is_that_of_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert image_type(head) == kind


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (image("data:image/png,hello"), "in base64"),
        (image("data:image/png;base64"), "in base64"),
        (image("data:image/png;base64,!!!!"), "not in base64"),
        (image("data:image/png;base64,ÄÄÄÄ"), "not in base64"),
        (image(encoded(b"RIFF1234AVI LIST")), "is none of PNG"),
        (image(encoded(b"<svg/>")), "is none of PNG, JPEG, GIF, BMP, WebP"),
        (image(encoded(b"\x89PNG\r\n\x1a\n")), "is damaged"),
        (image("data:image/png;base64,"), "the image is empty"),
        (image(""), "its URL is empty"),
        (image("data:image/png;base64,QUJ"), "not in base64: it is cut off, or its padding"),
        (image("data:image/png;base64,-_-_"), "not in base64: it is in the alphabet for URLs"),
        (image("data:image/png;base64,QUI%3D"), "not in base64: it is percent-encoded"),
        (image(3), "it has to be"),
        ({"type": "image_url", "image_url": png_url()}, "it has to be"),
        ({"type": "image_url"}, "it has to be"),
    ],
)
def test_what_is_no_image_in_the_request_is_refused_with_its_place(part: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        check(part, sees=True)
    assert caught.value.param == "messages[1].content[1]"


def test_the_detail_of_an_image_is_one_of_those_that_openai_has() -> None:
    for detail in ("auto", "low", "high", "original", None):
        check({"type": "image_url", "image_url": {"url": png_url(), "detail": detail}}, sees=True)
    for other in ("bogus", 5, {}):
        with pytest.raises(InvalidRequest, match="one of auto, low, high, original") as caught:
            check({"type": "image_url", "image_url": {"url": png_url(), "detail": other}}, sees=True)
        assert caught.value.param == "messages[1].content[1].image_url.detail"


@pytest.mark.parametrize("head", ["DATA:IMAGE/PNG;BASE64", " \ndata:image/png;base64", "data:image/png; base64"])
def test_engines_get_data_urls_in_one_form(head: str) -> None:
    plain = png_url()
    data = plain.partition(",")[2]
    given = image(f"{head},{data[:76]}\r\n{data[76:]}\n ")
    request = ChatRequest(messages=messages_of([{"role": "user", "content": [given]}]))
    (part,) = with_plain_urls(request).messages[0].media
    assert part.extra["image_url"]["url"] == plain


def test_a_data_url_in_that_form_is_left_alone() -> None:
    request = ChatRequest(messages=messages_of([{"role": "user", "content": [image(png_url()), image("a/b.png")]}]))
    assert with_plain_urls(request) is request


@pytest.mark.parametrize("url", [encoded(b"<svg/>"), "data:image/png;base64,QUJ", "data:image/png;base64,"])
def test_images_that_tools_returned_and_that_cannot_be_read_are_described(url: str) -> None:
    look = {"role": "tool", "tool_call_id": "1", "content": [image(url), image(png_url())]}
    _, seen, noted = shown(True, {"role": "user", "content": "Hi"}, look)
    assert (seen.messages[1].text, len(seen.messages[1].media)) == (UNREADABLE_IMAGE, 1)
    assert noted == ["ignored=image"]


def test_an_error_of_a_worker_about_an_image_names_the_place_of_that() -> None:
    messages = messages_of([{"role": "user", "content": [image(png_url())]}, {"role": "user", "content": [image("x")]}])
    error = InvalidRequest("messages: the image cannot be read", param="messages", image=2)
    name_place(error, messages)
    assert (error.param, error.message) == (
        "messages[1].content[0]",
        "messages[1].content[0]: the image cannot be read",
    )


def test_a_tool_tells_its_images_beside_its_text_those_of_an_unknown_format_only_in_it() -> None:
    outcome = ToolOutcome(name="t", text="look", images=(PNG, SVG))
    shown = [{"type": "text", "text": "look"}, image(f"data:image/png;base64,{PNG.data}")]
    assert [part_json(part) for part in content_with_images(outcome) if not isinstance(part, str)] == shown
    assert content_with_images(ToolOutcome(name="t", text="look", images=(SVG,))) == "look"


def shows(text: str, *images: ToolImage) -> Tool:
    async def tool(_: Any, __: Any) -> ToolOutcome:
        return ToolOutcome(name="", text=text, images=images)

    return tool


@pytest.mark.parametrize("sees", [True, False])
async def test_the_next_turn_shows_images_to_a_model_that_sees_and_the_transcript_tells_of_them(sees: bool) -> None:
    model = Model(turn(called("look"), called("read", index=1)), turn(called("read", '{"a": 1}')), turn(said("A cat.")))
    tools = Tools(look=shows("[image/png, 9 bytes]", PNG), read=shows("a text"))
    loop = loop_of(model, tools, sees_images=sees)
    await chunks_of(loop)
    first, second, third = (body["messages"] for body in model.bodies)
    shown = [{"type": "text", "text": "[image/png, 9 bytes]"}, image(f"data:image/png;base64,{PNG.data}")]
    assert len(first) == 1
    assert [message["content"] for message in second[2:]] == [shown if sees else "[image/png, 9 bytes]", "a text"]
    assert third[: len(second)] == second
    results = [message.content for message in loop.transcript if message.role == "tool"]
    assert results == ["[image/png, 9 bytes]", "a text", "a text"]


async def test_an_image_that_the_model_cannot_look_at_leaves_the_words_about_it() -> None:
    refused = [InvalidRequest("Failed to load image")]
    model = Model(turn(called("look")), refused, turn(said("I see nothing.")))
    loop = loop_of(model, Tools(look=shows("[image/png, 9 bytes]", PNG)), sees_images=True)
    answer = await chunks_of(loop)
    assert text_of(answer) == "I see nothing."
    assert [body["messages"][2]["content"] for body in model.bodies[2:]] == ["[image/png, 9 bytes]"]


async def test_a_refusal_that_no_image_can_have_caused_ends_the_answer() -> None:
    model = Model(turn(called("look")), [InvalidRequest("no")], turn(said("Hi")))
    with pytest.raises(InvalidRequest):
        await chunks_of(loop_of(model, Tools(look=shows("words")), sees_images=True))


def test_images_of_a_result_are_kept_as_far_as_they_fit_together() -> None:
    assert fitting((PNG, PNG), 2 * PNG.size_bytes) == ((PNG, PNG), "")
    kept, note = fitting((PNG, PNG, PNG), 2 * PNG.size_bytes)
    assert (kept, note) == ((PNG, PNG), "[cut: the first 2 of 3 images are shown; the rest is too large]")
    assert fitting((), 0) == ((), "")
    assert PNG.size_bytes == len(png())
