"""The file with the encoders of a model, ``mmproj*.gguf``, for images, sound or both: which one belongs to a model, and
what it takes.

Keys: https://github.com/ggml-org/llama.cpp/blob/master/tools/mtmd/clip-impl.h
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelhost.config.paths import expand_home
from modelhost.errors import ModelFileInvalid
from modelhost.models.files.gguf import GgufHeader, read_values
from modelhost.models.files.gguf_stream import Value
from modelhost.models.files.model_files import MMPROJ, servable_models, stem

WITHOUT: Final = "none"
"""What the setting ``mmproj`` says instead of a file, to serve a model without."""
ARCHITECTURE: Final = "clip"
PREFERRED: Final = ("f16", "bf16", "q8_0", "f32")
"""Number formats of an encoder, the best first: it is small, and its errors are those of all that is seen."""
LIBRARY_BYTES: Final = 6_000_000  # what llama.cpp adds, without any weights: 5 MB measured
CLIENT_BYTES: Final = 9_000_000  # Python's HTTP client, by which the worker learns what the encoder takes: 8.6 MB
FLOAT_BYTES: Final = 4
COLOURS: Final = 3
LIVE_ROWS: Final = 8  # of the encoder's width, for each piece of an image, beside the two of its feed-forward part
FRAMES: Final = 3_000  # of a spectrogram of 30 seconds, the most that encoders for sound take at once
TAPS: Final = 3  # columns that the convolutions of these encoders copy together
_FORMAT = re.compile(r"ud|i\d|t?i?q\d\w*|b?f16|f32|fp16|mxfp4\w*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaEncoder:
    """A file that goes with a model, for images, sound or both."""

    path: Path
    sees: bool
    hears: bool
    size_bytes: int
    work_bytes: int
    """For the work on one image, or 30 seconds of sound. Encoders that take images in their own size need more for
    large ones."""

    @property
    def need_bytes(self) -> int:
        """What it takes while its model is loaded: it is read into memory, whatever is done with the model."""
        return self.size_bytes + self.work_bytes + LIBRARY_BYTES + CLIENT_BYTES


def read_media_encoder(path: Path) -> MediaEncoder:
    """Return what the file at ``path`` says of itself.

    Raises:
        ModelFileMissing: it is not there.
        ModelFileInvalid: it is damaged, or something else.
    """
    values, size_bytes = read_values(path)
    if values.get("general.architecture") != ARCHITECTURE:
        raise ModelFileInvalid(
            f"{path} is no encoder of images or sound: give the file mmproj*.gguf that belongs to the model",
            path=str(path),
        )
    return MediaEncoder(
        path=path,
        sees=values.get("clip.has_vision_encoder") is True,
        hears=values.get("clip.has_audio_encoder") is True,
        size_bytes=size_bytes,
        work_bytes=max(_work_on_image(values), _work_on_sound(values)),
    )


def encoder_for(model: Path, header: GgufHeader, setting: str | None) -> Path | None:
    """Return the encoder to load with ``model``: the one that ``setting`` names, else the one beside it, if any.

    Raises:
        ModelFileMissing, ModelFileInvalid: the file cannot be used.
    """
    if setting == WITHOUT:
        return None
    if setting is not None:
        encoder = read_media_encoder(expand_home(setting))
        if not (encoder.sees or encoder.hears):
            raise ModelFileInvalid(
                f"{setting} holds neither a vision nor an audio encoder: the model would not see or hear", path=setting
            )
        return encoder.path
    if header.is_embedding or header.is_reranker:
        return None
    if (found := encoder_beside(model)) is None:
        return None
    encoder = read_media_encoder(found)
    return found if encoder.sees or encoder.hears else None


def encoder_beside(model: Path) -> Path | None:
    """Return the encoder that lies beside the file ``model`` and belongs to it."""
    name = matching_encoder(model.name, [file.name for file in model.parent.iterdir()])
    return None if name is None else model.with_name(name)


def matching_encoder(model: str, names: Sequence[str]) -> str | None:
    """Return which of ``names``, all in one directory, is the encoder of the file ``model``.

    Where the directory holds one model, in whatever number formats, an encoder is that model's; else it has to have
    words of the model's name, and no others.
    """
    of_model = _words(model)
    is_alone = all(_words(name) == of_model for name in servable_models(list(names)))
    found = [
        name
        for name in names
        if MMPROJ in name.lower() and name.lower().endswith(".gguf") and (is_alone or _is_named_after(name, of_model))
    ]
    return min(found, key=lambda name: (not _is_named_after(name, of_model), _rank(name), name), default=None)


def _words(name: str) -> frozenset[str]:
    """Return what a file's name says of the model, without the number format."""
    parts = re.split(r"[-.]", stem(name).lower())
    return frozenset(part for part in parts if part and not _FORMAT.fullmatch(part))


def _is_named_after(encoder: str, of_model: frozenset[str]) -> bool:
    words = {word for word in _words(encoder) if MMPROJ not in word} - {"model"}
    return bool(words) and words <= of_model


def _rank(name: str) -> int:
    parts = re.split(r"[-.]", stem(name).lower())
    return min((PREFERRED.index(part) for part in parts if part in PREFERRED), default=len(PREFERRED))


def _work_on_image(values: Mapping[str, Value]) -> int:
    """Return the bytes of what is computed at once of an image: one layer, for all of its pieces."""
    size, piece = _number(values, "image_size"), _number(values, "patch_size")
    pieces = math.ceil(size / piece) ** 2 if piece else 0
    pixels = COLOURS * piece**2
    return FLOAT_BYTES * pieces * (_row(values, "vision") + 2 * pixels)


def _work_on_sound(values: Mapping[str, Value]) -> int:
    """Return the same of sound: a convolution of all frames, then a layer for one frame in two."""
    width, bands = _number(values, "embedding_length", "audio"), _number(values, "num_mel_bins", "audio")
    convolution = FRAMES * TAPS * max(width // 2, bands)
    return FLOAT_BYTES * (convolution + FRAMES // 2 * _row(values, "audio"))


def _row(values: Mapping[str, Value], kind: str) -> int:
    return LIVE_ROWS * _number(values, "embedding_length", kind) + 2 * _number(values, "feed_forward_length", kind)


def _number(values: Mapping[str, Value], name: str, kind: str = "vision") -> int:
    value = values.get(f"clip.{kind}.{name}")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
