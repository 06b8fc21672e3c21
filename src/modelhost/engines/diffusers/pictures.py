"""Pictures that come and go: read within limits, fitted to a size, encoded."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

from PIL import Image, ImageOps

from modelhost.engines.media.grey_pictures import in_eight_bits
from modelhost.engines.media.png_notes import without_notes
from modelhost.engines.media.refusals import IMAGE_TOO_LARGE, INVALID_IMAGE
from modelhost.engines.worker.asgi import ErrorResponse, error_body

FORMATS: Final = ("PNG", "JPEG", "WEBP")
OPAQUE: Final = 255

# Pillow refuses pictures beyond a limit of its own while it reads their header, before their size is known here.
Image.MAX_IMAGE_PIXELS = None


def read_picture(data: bytes, *, param: str, max_pixels: int) -> Image.Image:
    """Return the picture in ``data``, upright; its size is checked before it is decoded.

    Raises:
        ErrorResponse: it is damaged, no PNG, JPEG or WebP, or has more than ``max_pixels``.
    """
    try:
        picture = Image.open(io.BytesIO(without_notes(data)), formats=FORMATS)
        width, height = picture.size
        if width * height > max_pixels:
            message = (
                f"{param}: it has {width}x{height} pixels, and at most {max_pixels:,} are taken; send a smaller one."
            )
            raise ErrorResponse(413, error_body(413, IMAGE_TOO_LARGE, message, param=param))
        picture.load()
        return in_eight_bits(ImageOps.exif_transpose(picture))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise unusable(param, "it is damaged, or no PNG, JPEG or WebP") from error


def unusable(param: str, problem: str) -> ErrorResponse:
    """Return the refusal of a picture."""
    return ErrorResponse(400, error_body(400, INVALID_IMAGE, f"{param}: {problem}.", param=param))


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return ``picture`` in colours, on white where it is transparent, scaled to ``size``."""
    if picture.mode != "RGB":
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (OPAQUE, OPAQUE, OPAQUE, OPAQUE))
        picture = Image.alpha_composite(white, coloured).convert("RGB")
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def fitted_mask(mask: Image.Image, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return ``mask`` as diffusers takes it: white where ``picture`` is painted anew.

    That is where it is transparent, as in OpenAI's API, or where it is white if nothing of it is transparent: more
    than half of either.

    Raises:
        ErrorResponse: it is not of the size of ``picture``, or leaves nothing to paint.
    """
    if mask.size != picture.size:
        (width, height), (wide, high) = mask.size, picture.size
        raise unusable("mask", f"it has {width}x{height} pixels, and the image {wide}x{high}; they have to be the same")
    has_alpha = "A" in mask.getbands() or "transparency" in mask.info
    alpha = mask.convert("RGBA").getchannel("A") if has_alpha else None
    is_opaque = alpha is None or not any(alpha.histogram()[:OPAQUE])
    area = mask.convert("L") if alpha is None or is_opaque else alpha.point(lambda value: OPAQUE - value)
    if not any(area.histogram()[OPAQUE // 2 + 1 :]):  # pipelines take what is more for all
        raise unusable(
            "mask", "nothing of it is transparent (or, without transparency, white): there is nothing to paint"
        )
    return area if area.size == size else area.resize(size, Image.Resampling.NEAREST)


def encoded(picture: Any, form: str, compression: int | None) -> bytes:
    """Return ``picture`` as a file of ``form``; ``compression`` is its quality, 0 to 100, except for PNG."""
    sink = io.BytesIO()
    options: Mapping[str, Any] = {} if compression is None or form == "png" else {"quality": compression}
    picture.save(sink, format=form.upper(), **options)
    return sink.getvalue()
