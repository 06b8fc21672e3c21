"""The encoder of images in a directory of safetensors: the memory that it works in. Its weights are among the others.

Keys: https://huggingface.co/docs/transformers/model_doc/llava, ``llava_next``, ``idefics3``, ``smolvlm``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

FLOAT_BYTES: Final = 4
COLOURS: Final = 3
LIVE_ROWS: Final = 8  # of the encoder's width, for each piece of an image, beside the two of its feed-forward part
LIVE_COPIES: Final = 18  # of the scaled image, while it is scaled, cut into parts and made floats: 10 to 16 measured
LIBRARY_BYTES: Final = 50_000_000  # Pillow, the processor and its tokenizer, without any image: 27 MB measured
EDGES: Final = {"size": 1_456, "max_image_size": 364}
"""What Idefics 3 scales an image to, and the parts that it cuts it into, where its files do not say."""
KEEPING_LAYERS: Final = ("llava", "llava_next")
"""Families whose models take what a layer before the last one returns, so that all are kept."""


def image_work_bytes(config: Mapping[str, Any], processor: Mapping[str, Any]) -> int:
    """Return the bytes of the work on one image, all its parts at once; 0 if the model does not see.

    Args:
        config: the model's ``config.json``.
        processor: the configuration of what reads its images.
    """
    encoder = config.get("vision_config")
    if not isinstance(encoder, dict):
        return 0
    side, piece = _number(encoder, "image_size"), _number(encoder, "patch_size")
    pieces = math.ceil(side / piece) ** 2 if piece else 0
    family = str(config.get("model_type"))
    rows = LIVE_ROWS + (_number(encoder, "num_hidden_layers") if family in KEEPING_LAYERS else 0)
    row = rows * _number(encoder, "hidden_size") + 2 * _number(encoder, "intermediate_size")
    pixels = LIVE_COPIES * COLOURS * side**2
    return LIBRARY_BYTES + FLOAT_BYTES * _parts(family, config, processor, side) * (pieces * row + pixels)


def _parts(family: str, config: Mapping[str, Any], processor: Mapping[str, Any], side: int) -> int:
    """Return into how many parts an image is cut at most, counting the whole of it as one."""
    if family == "llava_next" and side:
        grid = config.get("image_grid_pinpoints") or ()
        return 1 + max((width // side * (height // side) for width, height in grid), default=0)
    if family in ("idefics3", "smolvlm"):
        whole, part = (_number(processor.get(name) or {}, "longest_edge") or EDGES[name] for name in EDGES)
        return 1 + math.ceil(whole / part) ** 2
    return 1


def _number(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
