"""Images in prompts of real models of transformers, held against what transformers makes of the same images itself."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelhost.engines.transformers import worker
from modelhost.engines.transformers.library import TransformersLibrary
from modelhost.engines.transformers.vision_kinds import PROCESSORS
from modelhost.engines.worker.images import Prompt, RequestImage, prompt_with_images
from modelhost.engines.worker.library import ImageFailed, ReadImage, UnreadableImage, Vision
from tests.support.tiny_vision import IMAGE, picture, png, write_idefics, write_llava, write_llava_next

WRITERS: dict[str, Callable[[Path], Path]] = {
    "llava": write_llava,
    "llava_next": write_llava_next,
    "idefics3": write_idefics,
    "smolvlm": partial(write_idefics, is_smolvlm=True),
}
TEXTS = (f"Hello {IMAGE} and {IMAGE}{IMAGE} what", f"{IMAGE}Look", f"One {IMAGE} two {IMAGE}")
PICTURES = ([picture(1), picture(2, 30, 60), picture(3, 90, 20)], [picture(4)], [picture(1), picture(1)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeing:
    """A model that sees, and what transformers reads its prompts with."""

    model: Any
    library: TransformersLibrary
    vision: Vision
    processor: Any

    def prompt(self, text: str, pictures: list[Any]) -> Prompt:
        images = [RequestImage(data=png(each), read=self.vision.read(png(each))) for each in pictures]
        tokens = self.processor.tokenizer.encode(text, add_special_tokens=False)
        return prompt_with_images(text, tokens, images, self.vision.image_token_id)

    def expected(self, text: str, pictures: list[Any]) -> tuple[list[int], Any]:
        """Return the tokens of the prompt and the scores after them, as transformers has them."""
        inputs = self.processor(text=text, images=pictures, return_tensors="pt", add_special_tokens=False)
        scores = self.model(**inputs).logits[0, -1].numpy()
        return inputs["input_ids"][0].tolist(), scores


@pytest.fixture(scope="module", params=sorted(PROCESSORS))
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeing]:
    import torch  # noqa: PLC0415 (the libraries take seconds to import)
    import transformers  # noqa: PLC0415

    from modelhost.engines.transformers.vision import TransformersVision  # noqa: PLC0415

    folder = WRITERS[request.param](tmp_path_factory.mktemp(request.param))
    with torch.no_grad():
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
        processor = getattr(transformers, PROCESSORS[request.param]).from_pretrained(folder)
        library = TransformersLibrary(model, "cpu")
        vision = TransformersVision(library, model, folder)
        yield Seeing(model=model, library=library, vision=vision, processor=processor)


def _same(scores: Any, expected: Any) -> None:
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(scores, expected, rtol=0.01, atol=0.001 * np.abs(expected).max())


def _read(seeing: Seeing, prompt: Prompt, *, chunk: int = 1000) -> tuple[Any, Any]:
    """Return the cache of ``prompt`` and the scores after it, read ``chunk`` tokens at a time."""
    cache, scores = seeing.library.new_cache(), None
    for begin in range(0, len(prompt.ids), chunk):
        scores = seeing.vision.prefill(cache, prompt.ids[begin : begin + chunk], prompt.images)
    return cache, scores


@pytest.mark.parametrize(("text", "pictures"), list(zip(TEXTS, PICTURES, strict=True)), ids=["3", "1", "2"])
@pytest.mark.parametrize("chunk", [7, 1000])
def test_a_prompt_with_images_is_what_the_model_was_made_for(
    seeing: Seeing, text: str, pictures: list[Any], chunk: int
) -> None:
    tokens, scores = seeing.expected(text, pictures)
    prompt = seeing.prompt(text, pictures)
    assert prompt.tokens == tokens
    _same(_read(seeing, prompt, chunk=chunk)[1], scores)


def test_every_image_changes_the_scores(seeing: Seeing) -> None:
    found = [_read(seeing, seeing.prompt(TEXTS[1], [picture(seed)]))[1] for seed in (1, 1, 2)]
    assert np.array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.01


def test_an_image_has_numbers_of_its_own_wherever_it_stands(seeing: Seeing) -> None:
    def numbers(text: str, *seeds: int) -> list[set[int]]:
        prompt = seeing.prompt(text, [picture(seed) for seed in seeds])
        return [{prompt.ids[place] for place in image.places} for image in prompt.images]

    (one, two), (again,) = numbers(TEXTS[2], 5, 6), numbers(TEXTS[1], 6)
    assert two == again
    assert not one & two
    assert min(one | two) >= 1 << 62


def test_a_cache_is_continued_and_joins_others(seeing: Seeing) -> None:
    def prompts() -> list[Prompt]:  # each is read once
        return [seeing.prompt(text, pictures) for text, pictures in zip(TEXTS, PICTURES, strict=True)]

    cache, whole = _read(seeing, prompts()[0])
    again = prompts()[0]
    middle = int(again.images[1].places[1])
    fork = seeing.library.fork(cache, middle)
    _same(seeing.vision.prefill(fork, again.ids[middle:], again.images), whole)

    batch = seeing.library.new_batch()
    batch.add([_read(seeing, prompt)[0] for prompt in prompts()])
    rows = batch.step([5, 6, 7])
    for row, prompt in enumerate(prompts()):
        cache, _ = _read(seeing, prompt)
        _same(rows[row], seeing.library.prefill(cache, [5 + row]))


def test_the_pixels_of_an_image_are_dropped_once_it_has_been_read(seeing: Seeing) -> None:
    prompt = seeing.prompt(TEXTS[2], PICTURES[2])
    cache = seeing.library.new_cache()
    first, second = prompt.images
    middle = int(second.places[0])
    seeing.vision.prefill(cache, prompt.ids[:middle], prompt.images)
    assert (first.inputs, first.vectors) == (None, None)
    assert second.inputs is not None
    seeing.vision.prefill(cache, prompt.ids[middle:], prompt.images)
    assert (second.inputs, second.vectors) == (None, None)


def test_an_image_that_does_not_fit_its_places_is_refused_before_anything_is_read(seeing: Seeing) -> None:
    image = seeing.vision.read(png(picture(1)))
    tokens = [*image.tokens, seeing.vision.image_token_id]
    wrong = RequestImage(data=b"", read=ReadImage(tokens=tokens, inputs=image.inputs))
    prompt = prompt_with_images("", [seeing.vision.image_token_id], [wrong], seeing.vision.image_token_id)
    cache = seeing.library.new_cache()
    with pytest.raises(ImageFailed, match="places in the prompt"):
        seeing.vision.prefill(cache, prompt.ids, prompt.images)
    assert seeing.library.length_of(cache) == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 300), (600, 2)], ids=str)
def test_images_of_any_shape_are_read(seeing: Seeing, size: tuple[int, int]) -> None:
    prompt = seeing.prompt(TEXTS[1], [picture(1, *size)])
    tokens, scores = seeing.expected(TEXTS[1], [picture(1, *size)])
    assert prompt.tokens == tokens
    _same(_read(seeing, prompt)[1], scores)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16", "CMYK"])
def test_images_of_any_mode_are_read(seeing: Seeing, mode: str) -> None:
    import io  # noqa: PLC0415

    image = picture(1).convert("L").convert(mode) if mode == "I;16" else picture(1).convert(mode)
    sink = io.BytesIO()
    image.save(sink, format="JPEG" if mode == "CMYK" else "PNG")
    assert seeing.vision.image_token_id in seeing.vision.read(sink.getvalue()).tokens


@pytest.mark.parametrize("cut", [0, 20, 60, -40])
def test_a_damaged_image_is_unreadable(seeing: Seeing, cut: int) -> None:
    with pytest.raises(UnreadableImage, match="damaged"):
        seeing.vision.read(png(picture(1))[:cut])


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("add", ["add_text", "add_itxt"])
def test_a_long_text_in_an_image_is_overlooked(seeing: Seeing, add: str, place: str) -> None:
    from PIL import PngImagePlugin  # noqa: PLC0415 (as above)

    plain, info = png(picture(1)), PngImagePlugin.PngInfo()
    getattr(info, add)("comment", "x" * 3_000_000, zip=True)
    (_, data, _) = info.chunks[0]
    chunk = len(data).to_bytes(4) + info.chunks[0][0] + data
    chunk += zlib.crc32(chunk[4:]).to_bytes(4)
    at = 33 if place == "before" else len(plain) - 12  # behind IHDR, or before IEND
    assert seeing.vision.read(plain[:at] + chunk + plain[at:]).tokens == seeing.vision.read(plain).tokens


def test_many_texts_in_an_image_are_overlooked(seeing: Seeing) -> None:
    from PIL import PngImagePlugin  # noqa: PLC0415 (as above)

    info, packed = PngImagePlugin.PngInfo(), io.BytesIO()
    for number in range(70):
        info.add_text(f"{number}", "x" * 1_000_000, zip=True)
    picture(1).save(packed, "PNG", pnginfo=info)
    assert seeing.vision.read(packed.getvalue()).tokens == seeing.vision.read(png(picture(1))).tokens


def test_a_model_that_sees_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker, "find_spec", lambda _name: None)
    config = {"path": str(write_llava(tmp_path)), "threads": 1, "device": "cpu", "dtype": "float32"}
    with pytest.raises(ModuleNotFoundError, match="Pillow"):
        worker.load({**config, "trust_remote_code": False})
