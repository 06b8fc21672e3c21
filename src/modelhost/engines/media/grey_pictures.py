"""Grey pictures with 16 bits a pixel, as scanners and medical programs write them in PNG."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

DEEP: Final = "I;16"
"""How the names of Pillow's modes for them begin: the rest is the order of the bytes."""
STEP: Final = 257
"""Between two shades of 8 bits: 65535 is 255."""


def in_eight_bits(picture: Image.Image) -> Image.Image:
    """Return such a ``picture`` with 8 bits a pixel, where Pillow would convert it to white; others as they are."""
    if not picture.mode.startswith(DEEP):
        return picture
    return Image.fromarray((np.asarray(picture) // STEP).astype(np.uint8))
