"""Images for models that ``transformers`` calls image-text-to-text.

Of these, the kinds in :mod:`.vision_kinds` are built in the same way: the vectors of an image take the place of those
of its tokens, and all else, positions and attention included, is as for text. So each image is worked on by itself, one
after the other, whatever else is in the batch.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import transformers
from PIL import Image, ImageOps

from modelhost.engines.media.grey_pictures import in_eight_bits
from modelhost.engines.media.png_notes import without_notes
from modelhost.engines.transformers.checkpoints import WAY_OUT
from modelhost.engines.transformers.library import TransformersLibrary
from modelhost.engines.transformers.vision_kinds import PROCESSOR_FILES, PROCESSORS
from modelhost.engines.worker.images import FIRST_IMAGE_ID, RequestImage, prompt_with_images
from modelhost.engines.worker.library import ImageFailed, PlacedImage, ReadImage, Scores, UnreadableImage
from modelhost.engines.worker.process import UnusableFiles, cause_of, is_of_files

FORMATS: Final = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
MOST_PIXELS: Final = 64_000_000
"""Of an image before it is scaled. The host, which reads headers itself, has the same limit."""
OF_TEXT: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""What a processor returns beside what the encoder of images takes."""
LONGEST_SENTENCE: Final = 200
SIDE: Final = 32
"""Of the image that is shown to a model when it is loaded."""

# Pillow refuses pictures beyond a limit of its own while it reads their header, before their size is known here.
Image.MAX_IMAGE_PIXELS = None


class TransformersVision:
    """The :class:`~modelhost.engines.worker.library.Vision` of a model of one of these kinds."""

    def __init__(self, library: TransformersLibrary, model: Any, directory: Path) -> None:
        """Read the files of the processor in ``directory``, and have the model see an image.

        Raises:
            UnusableFiles: no processor can be made of its files, or it does not fit the model.
        """
        self._processor = _processor(PROCESSORS[model.config.model_type], directory)
        _complete(self._processor, model.config)
        self._lock = threading.Lock()  # its tokenizer is not safe in threads; and one large image at a time is enough
        self._library, self._model = library, model
        self.image_token: str = self._processor.image_token
        self.image_token_id: int = self._processor.image_token_id
        try:
            image = RequestImage(data=b"", read=self._read(Image.new("RGB", (SIDE, SIDE))))
            prompt = prompt_with_images("", [self.image_token_id], [image], self.image_token_id)
            self._vectors(prompt.images[0])
        except ImageFailed as error:
            raise UnusableFiles(f"the processor of images does not fit the model: {error}: {WAY_OUT}") from error
        except Exception as error:
            if not is_of_files(error):
                raise
            names = ", ".join(("config.json", *_files_of_processor(directory)))
            raise UnusableFiles(
                f"it cannot see an image in the way that {names} describe ({cause_of(error).rstrip('.')}): {WAY_OUT}"
            ) from error

    def read(self, data: bytes) -> ReadImage:
        """Return the image in the file ``data``; may be called in any thread."""
        with self._lock:
            picture = _picture(data)
            try:
                return self._read(picture)
            except (ValueError, TypeError, ZeroDivisionError) as error:
                width, height = picture.size
                raise UnreadableImage(f"the model takes none of {width}x{height} pixels ({error})") from error

    def _read(self, picture: Image.Image) -> ReadImage:
        found = self._processor(text=self.image_token, images=[picture], return_tensors="pt", add_special_tokens=False)
        tokens = found["input_ids"][0].tolist()
        if self.image_token_id not in tokens:
            raise ValueError("there is no place for it in the prompt")
        return ReadImage(tokens=tokens, inputs={name: found[name] for name in found.keys() - OF_TEXT})

    def prefill(self, cache: Any, tokens: Sequence[int], images: Sequence[PlacedImage]) -> Scores:
        """Append ``tokens`` with ``images``, of which each is worked on when the first of its places is reached."""
        begin = self._library.length_of(cache)
        end = begin + len(tokens)
        here = [image for image in images if image.places[0] < end and image.places[-1] >= begin]
        scores: Scores
        if here:
            scores = self._library.prefill_vectors(cache, self._with_images(tokens, here, begin))
        else:
            scores = self._library.prefill(cache, tokens)
        for image in images:
            if image.places[-1] < end:
                image.inputs = image.vectors = None
        return scores

    def _with_images(self, tokens: Sequence[int], images: Sequence[PlacedImage], begin: int) -> Any:
        """Return the vectors of ``tokens``, which stand at ``begin``, with those of ``images`` among them."""
        vectors = self._library.vectors_of([0 if token >= FIRST_IMAGE_ID else token for token in tokens])
        for image in images:
            rows, columns = image.within(begin, begin + len(tokens))
            vectors[0, columns] = self._vectors(image)[rows].to(vectors)
        return vectors

    def _vectors(self, image: PlacedImage) -> Any:
        """Return the vectors of ``image``, one for each of its places.

        Raises:
            ImageFailed: the encoder makes another number of them.
        """
        if image.vectors is None:
            inputs = {name: self._moved(value) for name, value in image.inputs.items()}
            found = self._model.get_image_features(**inputs, return_dict=True).pooler_output
            vectors = self._library.torch.cat(tuple(found)) if isinstance(found, list | tuple) else found
            vectors = vectors.reshape(-1, vectors.shape[-1])
            if len(vectors) != len(image.places):
                raise ImageFailed(
                    f"the encoder of images made {len(vectors)} vectors, for {len(image.places)} places in the prompt"
                )
            image.vectors = vectors
        return image.vectors

    def _moved(self, value: Any) -> Any:
        is_number = value.is_floating_point()
        return value.to(self._library.device, self._model.dtype if is_number else value.dtype)


def _processor(kind: str, directory: Path) -> Any:
    """Return the processor of the class ``kind`` in ``directory``.

    Raises:
        UnusableFiles: its files do not describe one, or one that the library does not know.
    """
    try:
        return getattr(transformers, kind).from_pretrained(directory, local_files_only=True)
    except Exception as error:
        if not is_of_files(error):
            raise
        # What follows the first sentence is a list of all that the library knows, or about its hub.
        said = str(error).partition(". ")[0].partition("\n")[0].rstrip(".")
        raise UnusableFiles(
            f"{' and '.join(_files_of_processor(directory))} cannot be used to read images "
            f"({type(error).__name__}: {said[:LONGEST_SENTENCE]}): the file is empty, incomplete, or for another "
            f"library or version (transformers {transformers.__version__} is here): download it again from where the "
            "model is from"
        ) from error


def _files_of_processor(directory: Path) -> list[str]:
    return [name for name in PROCESSOR_FILES if (directory / name).is_file()]


def _complete(processor: Any, config: Any) -> None:
    """Add what the files of older LLaVA models do not say of their processor."""
    if getattr(processor, "patch_size", ...) is None:
        processor.patch_size = config.vision_config.patch_size
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        processor.num_additional_image_tokens = 1  # that of the class, in CLIP


def _picture(data: bytes) -> Image.Image:
    """Return the picture in ``data``, upright and in colours; its size is checked before it is decoded.

    Raises:
        UnreadableImage: it is damaged, of another format, or too large.
    """
    try:
        picture = Image.open(io.BytesIO(without_notes(data)), formats=FORMATS)
        width, height = picture.size
        if width * height > MOST_PIXELS:
            raise UnreadableImage(f"it has {width}x{height} pixels, and at most {MOST_PIXELS:,} are taken")
        return in_eight_bits(ImageOps.exif_transpose(picture)).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UnreadableImage(f"it is damaged, or none of {', '.join(FORMATS)}") from error
