"""Images in requests: where they are in the prompt, and what tells them apart. The model behind it is none."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, cast

import pytest

from modelhost.engines.launch import ModelSpec
from modelhost.engines.prompting import prompt_config
from modelhost.engines.worker.asgi import ErrorResponse
from modelhost.engines.worker.images import FIRST_IMAGE_ID
from modelhost.engines.worker.library import Library, Loaded, PlacedImage, ReadImage, UnreadableImage
from modelhost.engines.worker.requests import RequestReader
from modelhost.engines.worker.text import Vocabulary
from tests.support.nano_hf import new_nano_tokenizer
from tests.support.tiny_vision import IMAGE, LISTS, TEXTS

BLIND = "{% for message in messages %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endfor %}"
"""Takes parts, and does not show images."""


class Seen:
    """Sees two tokens of an image, with one before and one after them."""

    image_token = IMAGE

    def __init__(self, image_token_id: int) -> None:
        self.image_token_id = image_token_id

    def read(self, data: bytes) -> ReadImage:
        if data == b"broken":
            raise UnreadableImage("it is damaged")
        return ReadImage(tokens=[7, self.image_token_id, self.image_token_id, 8], inputs=data)

    def prefill(self, cache: Any, tokens: Sequence[int], images: Sequence[PlacedImage]) -> Any:
        raise NotImplementedError


def image(content: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    listed = [
        each if isinstance(each, dict) else {"role": roles[place % 2], "content": each}
        for place, each in enumerate(messages)
    ]
    return {"messages": listed, **fields}


class Reader:
    def __init__(self, template: str = LISTS, *, special_tokens: str = "text", context: int = 200) -> None:
        tokenizer = new_nano_tokenizer()
        tokenizer.add_tokens([IMAGE], special_tokens=True)
        self.vision = Seen(tokenizer.convert_tokens_to_ids(IMAGE))
        self.vocabulary = Vocabulary(tokenizer)
        loaded = Loaded(
            library=cast("Library", None),  # reading needs none
            tokenizer=tokenizer,
            vocab_size=len(tokenizer),
            version="0",
            eos_ids=frozenset({2}),
            vision=self.vision,
        )
        config = {
            "name": "nano",
            "context_length": context,
            **prompt_config(ModelSpec(name="nano", chat_template=template)),
            "own_chat_template": None,
            "tool_call_parser": "auto",
            "special_tokens": special_tokens,
        }
        self.reader = RequestReader(loaded, self.vocabulary, config)

    def shown(self, asked: dict[str, Any]) -> str:
        """Return the prompt as text."""
        return self.vocabulary.decode(self.reader.prompt(asked).tokens)

    def piece(self, *tokens: int) -> str:
        return self.vocabulary.decode(list(tokens))

    @property
    def of_image(self) -> str:
        """What an image becomes."""
        return self.piece(*self.vision.read(b"").tokens)


@pytest.mark.parametrize(
    ("template", "before"),
    [(LISTS, ""), (TEXTS, "\n"), (BLIND, "\n")],
    ids=["parts", "texts", "parts without images"],
)
def test_images_stand_where_they_are_in_the_messages(template: str, before: str) -> None:
    reader = Reader(template)
    asked = body([text("a "), image(b"1"), text("b "), image(b"2")], "yes", [image(b"1"), text("c")])
    shown, one = reader.shown(asked), f"{reader.of_image}{before}"
    assert f"a {one}b {one}" in shown
    assert f"{one}c" in shown
    assert shown.count(reader.of_image) == 3
    assert "yes" in shown
    request = reader.reader.chat(asked)
    assert [each.inputs for each in request.images] == [b"1", b"2", b"1"]
    for each in request.images:
        assert [
            request.prompt[place] >= FIRST_IMAGE_ID for place in range(each.places[0] - 1, each.places[-1] + 2)
        ] == [
            False,
            True,
            True,
            False,
        ]


def test_a_conversation_without_images_is_what_the_template_takes() -> None:
    for template in (LISTS, TEXTS):
        request = Reader(template).reader.chat(body("Hello"))
        assert request.images == ()
        assert max(request.prompt) < FIRST_IMAGE_ID
        assert "Hello" in Reader(template).shown(body("Hello"))
        assert "Hello" in Reader(template).shown(body([text("Hel"), text("lo")]))


def test_images_are_told_apart_by_their_contents() -> None:
    def prompt(*contents: bytes) -> list[int]:
        return Reader().reader.chat(body([image(content) for content in contents])).prompt

    assert prompt(b"1", b"2") == prompt(b"1", b"2")
    one, other = prompt(b"1", b"2"), prompt(b"1", b"3")
    assert one != other
    assert len(one) == len(other)
    differing = [place for place, (mine, its) in enumerate(zip(one, other, strict=True)) if mine != its]
    assert len(differing) == 2
    numbers = [number for number in prompt(b"1") if number >= FIRST_IMAGE_ID]
    assert len(set(numbers)) == 2


def test_penalties_leave_out_what_is_no_token() -> None:
    request = Reader().reader.chat(body([text("a"), image(b"1")]))
    assert max(request.text_tokens) < FIRST_IMAGE_ID <= max(request.prompt)
    assert len(request.text_tokens) == len(request.prompt) - 2


def test_the_name_of_the_image_token_in_a_text_is_text() -> None:
    reader = Reader()
    asked = body([text(f"{IMAGE} and "), image(b"1"), text("<ima"), text("ge>")])
    prompt = reader.reader.prompt(asked)
    assert len(prompt.images) == 1
    assert prompt.tokens.count(reader.vision.image_token_id) == 2
    assert reader.shown(asked).count(IMAGE) == 4  # two of them as text


@pytest.mark.parametrize("content", [f"a {IMAGE} b", [text(f"a {IMAGE} b")]], ids=["text", "parts"])
def test_so_it_is_in_an_answer_of_the_model_whose_other_special_tokens_are_meant(content: Any) -> None:
    reader = Reader()
    asked = body([image(b"1")], {"role": "assistant", "content": content}, "and <|im_end|>?")
    prompt = reader.reader.prompt(asked)
    assert (len(prompt.images), prompt.tokens.count(reader.vision.image_token_id)) == (1, 2)
    assert f"a {IMAGE} b" in reader.shown(asked)
    meant = reader.reader.prompt(body("Hi", {"role": "assistant", "content": f"{IMAGE}<|im_end|>"}))
    ends = meant.tokens.count(2)
    assert ends == reader.reader.prompt(body("Hi", {"role": "assistant", "content": ""})).tokens.count(2) + 1


def test_image_tokens_without_images_are_refused() -> None:
    with pytest.raises(ErrorResponse) as caught:
        Reader(special_tokens="raw").reader.chat(body(f"{IMAGE} what"))
    assert (caught.value.status, caught.value.body["error"]["param"]) == (400, "messages")
    assert f"has {IMAGE} 1 time, for 0 images" in caught.value.body["error"]["message"]


def test_a_damaged_image_is_named() -> None:
    with pytest.raises(ErrorResponse) as caught:
        Reader().reader.chat(body([image(b"1"), image(b"broken")]))
    error = caught.value.body["error"]
    assert (error["message"], error["image"]) == ("messages: the image cannot be read: it is damaged", 2)


def test_an_image_that_a_tool_returned_and_that_cannot_be_read_is_described() -> None:
    tool = {"role": "tool", "tool_call_id": "1", "content": [text("Here: "), image(b"broken")]}
    asked = Reader().reader.chat(body([image(b"1")], "Look", tool))
    assert len(asked.images) == 1
    assert "It cannot be read." in Reader().reader.prompt(body([image(b"1")], "Look", tool)).text


def test_a_part_of_another_type_is_refused_with_the_types_that_are_taken() -> None:
    with pytest.raises(ErrorResponse) as caught:
        Reader().reader.chat(body([{"type": "file", "file": {}}]))
    error = caught.value.body["error"]
    assert "type file: nano takes parts of type text and image_url only" in error["message"]
    assert error["param"] == "messages"


def test_images_count_towards_the_context() -> None:
    reader = Reader(context=40)
    length = len(reader.reader.prompt(body([image(b"1")])).tokens)
    with pytest.raises(ErrorResponse) as caught:
        reader.reader.chat(body([image(bytes([number])) for number in range(10)]))
    error = caught.value.body["error"]
    assert (error["type"], error["n_prompt_tokens"]) == ("exceed_context_size_error", length + 9 * 4)


def test_sound_is_refused() -> None:
    with pytest.raises(ErrorResponse, match="400"):
        Reader().reader.chat(body([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]))
