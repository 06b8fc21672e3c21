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
PROCESSOR_FILES: Final = ("preprocessor_config.json", "processor_config.json")
"""Of which one says how images are read; the second one is newer, and may say that of more than images."""
WITHOUT_PROCESSOR: Final = (
    f"Its directory has neither {' nor '.join(PROCESSOR_FILES)}, of which one says how images are read: add the file "
    "from where the model is from, and load the model again."
)
WITHOUT_KIND: Final = (
    f"Serve a model that was made for images, of a kind that this engine takes them with: {', '.join(PROCESSORS)}."
)
