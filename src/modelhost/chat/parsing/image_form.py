"""The fields of ``/v1/images/generations`` and ``/v1/images/edits``, as OpenAI defines them, with some more."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelhost.chat.notes import ON_NOTE
from modelhost.chat.parsing.fields import NonEmpty, Number
from modelhost.chat.parsing.form_numbers import number_in
from modelhost.chat.parsing.problems import invalid_request
from modelhost.errors import InvalidImage, InvalidRequest, UnsupportedParameter
from modelhost.exchange.requests import ImageRequest

FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
SWITCHES: Final = frozenset({"stream", "progress"})
NUMBERS: Final = frozenset({"n", "seed", "steps", "partial_images", "output_compression", "guidance", "strength"})
MEDIA: Final = frozenset({"image", "images", "mask"})
FILES: Final = frozenset({"image", "mask"})
"""The fields of a form that are files."""
WITHOUT_EFFECT: Final = ("quality", "style", "moderation", "input_fidelity")
"""Clients send them as a matter of course; other values than these are named in a header of the answer."""
USUAL: Final = frozenset({"auto", "standard", None})
LONGEST_PROMPT: Final = 32_000
LARGEST_SEED: Final = 2**32 - 1
MOST_STEPS: Final = 10_000
"""The engine takes fewer, as it is configured; this bound is for numbers that are none of steps."""
SIZE: Final = r"^(auto|[1-9][0-9]{0,8}x[1-9][0-9]{0,8})$"
"""What is too large for a model is said by its worker, which knows the sizes that it makes."""
LONGEST_SIDE: Final = 10**9 - 1
DATA: Final = "data:"
BASE64: Final = ";base64"
ADDRESSES: Final = ("http://", "https://")

Prompt = Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]


class ImageGenerationRequest(BaseModel):
    """``POST /v1/images/generations``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    prompt: Prompt
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: Annotated[str, Field(pattern=SIZE)] | None = Field(
        default=None, description="`WIDTHxHEIGHT`; `auto` (default): the model's own, or that of the image to edit."
    )
    response_format: Literal["b64_json", "url"] | None = Field(default=None, description="Default: b64_json.")
    output_format: Literal["png", "jpeg", "webp"] | None = Field(default=None, description="Default: png.")
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="The quality of `jpeg` and `webp`, 0 to 100."
    )
    background: Literal["auto", "opaque"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = Field(
        default=None, description="For `stream`: how many unfinished images are sent."
    )
    progress: bool | None = Field(
        default=None, description="For `stream`: an event before the first step of an image and after each one."
    )
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = Field(
        default=None, description="The same seed gives the same images. Default: random; the answer names it."
    )
    negative_prompt: Annotated[str, Field(max_length=LONGEST_PROMPT)] | None = None
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = Field(
        default=None, description="Default: the pipeline's own."
    )
    guidance: Annotated[Number, Field(ge=0, le=100)] | None = Field(
        default=None, description="How closely the image follows the prompt. Default: the pipeline's own."
    )
    quality: NonEmpty | None = Field(default=None, description="Accepted, without effect.")
    style: NonEmpty | None = Field(default=None, description="Accepted, without effect.")
    moderation: NonEmpty | None = Field(default=None, description="Accepted, without effect.")
    user: str | None = None

    def request(self, image: bytes | None = None, mask: bytes | None = None) -> ImageRequest:
        """Return the request, to edit ``image`` if there is one; what has no effect becomes a note on the answer."""
        if (on_note := ON_NOTE.get()) is not None:
            for name in WITHOUT_EFFECT:
                if getattr(self, name, None) not in USUAL:
                    on_note(f"ignored={name}")
        width, _, height = (self.size or "auto").partition("x")
        return ImageRequest(
            model=self.model,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt or None,
            n=self.n or 1,
            size=(int(width), int(height)) if height else None,
            steps=self.steps,
            guidance=self.guidance,
            seed=self.seed,
            image=image,
            mask=mask,
            strength=getattr(self, "strength", None),
            format=self.output_format or "png",
            compression=self.output_compression,
            partial_images=self.partial_images or 0,
        )


class ImageEditRequest(ImageGenerationRequest):
    """``POST /v1/images/edits``, besides the image and the mask."""

    strength: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        default=None, description="How much of the image is painted anew. Default: 0.8."
    )
    input_fidelity: NonEmpty | None = Field(default=None, description="Accepted, without effect.")


def parsed_images(body: Any, kind: type[ImageGenerationRequest] = ImageGenerationRequest) -> ImageGenerationRequest:
    """Return the fields in ``body``, decoded JSON.

    Raises:
        UnsupportedParameter: there is no such field.
        InvalidRequest: ``param`` names the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object.")
    for name in body:
        if name not in kind.model_fields:
            raise UnsupportedParameter(f'The field "{name}" is not supported for images.', param=name)
    if body.get("background") == "transparent":
        raise UnsupportedParameter("background: these models make opaque images only.", param="background")
    _check_plainly(body)
    try:
        form = kind.model_validate(body)
    except ValidationError as error:
        raise invalid_request(error, body) from None
    _check_together(form)
    return form


def _check_plainly(body: Mapping[str, Any]) -> None:
    """Check what the schema refuses in words that say too little; raises InvalidRequest."""
    size, seed = body.get("size"), body.get("seed")
    if isinstance(size, str) and not re.fullmatch(SIZE, size):
        raise InvalidRequest(
            f'size: it has to be WIDTHxHEIGHT, such as "1024x1024", with sides from 1 to {LONGEST_SIDE}, or "auto".',
            param="size",
        )
    if isinstance(seed, int) and not 0 <= seed <= LARGEST_SEED:
        raise InvalidRequest(f"seed: it has to be from 0 to {LARGEST_SEED}.", param="seed")


def _check_together(form: ImageGenerationRequest) -> None:
    """Check what no field can say alone; raises InvalidRequest."""
    if form.stream and form.response_format == "url":
        raise InvalidRequest("response_format: a stream has b64_json only.", param="response_format")
    if form.partial_images and not form.stream:
        raise InvalidRequest("partial_images: they are sent in a stream only; add stream.", param="partial_images")
    if form.progress and not form.stream:
        raise InvalidRequest("progress: it is sent in a stream only; add stream.", param="progress")
    if form.output_compression not in (None, 100) and (form.output_format or "png") == "png":
        raise InvalidRequest("output_compression: png loses nothing; take jpeg or webp.", param="output_compression")


def parsed_edit(
    fields: Mapping[str, Any], files: Mapping[str, Sequence[bytes]]
) -> tuple[ImageEditRequest, ImageRequest]:
    """Return an edit with ``fields``, and its request for ``files``; raises as :func:`parsed_images` does.

    Raises:
        InvalidRequest: there is no image, or there are several.
        UnsupportedParameter: a file is in another field.
    """
    given: dict[str, list[bytes]] = {"image": [], "mask": []}
    for sent, parts in files.items():
        name = sent.removesuffix("[]")
        if name not in given:
            raise UnsupportedParameter(f'The file in the field "{sent}" is not supported for images.', param=sent)
        given[name].extend(parts)
    if len(given["image"]) != 1:
        problem = "it is missing" if not given["image"] else "these models edit one image at a time; send one"
        raise InvalidRequest(f"image: {problem}.", param="image")
    if len(given["mask"]) > 1:
        raise InvalidRequest("mask: send one.", param="mask")
    form = parsed_images(dict(fields), ImageEditRequest)
    assert isinstance(form, ImageEditRequest)
    return form, form.request(given["image"][0], next(iter(given["mask"]), None))


def json_edit(body: Any) -> tuple[ImageEditRequest, ImageRequest]:
    """Return an edit whose images are in JSON: ``image`` or ``images``, and ``mask``; raises as :func:`parsed_edit`.

    An image is a data URL or base64, or an object with it in ``image_url``.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object.")
    listed = [(name, each) for name in ("image", "images") for each in _list(body.get(name))]
    files = {"image": [_decoded(name, each) for name, each in listed]}
    if body.get("mask") is not None:
        files["mask"] = [_decoded("mask", body["mask"])]
    return parsed_edit({name: value for name, value in body.items() if name not in MEDIA}, files)


def json_request(body: Any) -> ImageRequest:
    """Return the request of a generation, or of an edit if ``body`` has an ``image``; raises as they do."""
    if isinstance(body, dict) and "image" in body:
        return json_edit(body)[1]
    return parsed_images(body).request()


def keyword_request(prompt: str, parameters: Mapping[str, Any]) -> ImageRequest:
    """Return the request of a program: fields of the endpoints or of :class:`ImageRequest`, with bytes of files.

    Raises as :func:`parsed_edit` does.
    """
    fields: dict[str, Any] = {"prompt": prompt, **parameters}
    for name in ("stream", "progress", "partial_images", "response_format"):
        if name in fields:
            raise UnsupportedParameter(f"{name}: this returns the files themselves; leave it out.", param=name)
    for name, own in (("format", "output_format"), ("compression", "output_compression")):
        if name in fields:
            fields[own] = fields.pop(name)
    if isinstance(size := fields.get("size"), (tuple, list)):
        fields["size"] = "x".join(map(str, size))
    files = {name: [file] for name in ("image", "mask") if (file := fields.pop(name, None)) is not None}
    for name, (file,) in files.items():
        if not isinstance(file, bytes):
            raise InvalidRequest(f"{name}: give the bytes of a file.", param=name)
    if not files:
        return parsed_images(fields).request()
    return parsed_edit(fields, files)[1]


def _list(value: Any) -> Sequence[Any]:
    return () if value is None else value if isinstance(value, list) else [value]


def _decoded(name: str, given: Any) -> bytes:
    text = given.get("image_url") if isinstance(given, dict) else given
    if not isinstance(text, str):
        raise InvalidRequest(f"{name}: send a data URL, base64, or an object with one in image_url.", param=name)
    text = "".join(text.split())  # programs break base64 into lines
    if text.lower().startswith(ADDRESSES):
        raise InvalidRequest(f"{name}: addresses are not fetched here; send a data URL.", param=name)
    if text[: len(DATA)].lower() == DATA:
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(BASE64):
            raise InvalidImage(f"{name}: the data URL is not in base64.", param=name)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidImage(f"{name}: it is not valid base64.", param=name) from None


def fields_of_form(given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the texts of a form as JSON has them.

    Raises:
        InvalidRequest: a field is there several times, or it is an image, which has to be a file.
    """
    fields: dict[str, Any] = {}
    for name, texts in given.items():
        if (file := name.removesuffix("[]")) in FILES:
            raise InvalidRequest(f"{file}: it came as a text; send it as a file, with a plain filename=.", param=file)
        if len(texts) > 1:
            raise InvalidRequest(f"{name}: it is there {len(texts)} times; send it once.", param=name)
        fields[name] = _value(name, texts[0])
    return fields


def _value(name: str, text: str) -> Any:
    if name in SWITCHES:
        return FLAGS.get(text.lower(), text)
    return number_in(text) if name in NUMBERS else text
