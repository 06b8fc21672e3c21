"""The kinds of models that see, of those that this engine serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OF_IDEFICS: Final = "Idefics3Processor"
PROCESSORS: Final[Mapping[str, str]] = {
    "idefics3": OF_IDEFICS,
    "llava": "LlavaProcessor",
    "llava_next": "LlavaNextProcessor",
    "smolvlm": OF_IDEFICS,  # its own adds videos, for which it needs torchvision
}
"""What reads the images of a kind, by ``model_type``: a class of ``transformers``."""
