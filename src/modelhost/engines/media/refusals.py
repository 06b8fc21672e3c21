"""What workers for sound and images refuse, by the types that their errors have."""

from __future__ import annotations

from typing import Final

NOTHING_TO_SPEAK: Final = "nothing_to_speak"
INVALID_AUDIO: Final = "invalid_audio"
AUDIO_TOO_LONG: Final = "audio_too_long"
INVALID_IMAGE: Final = "invalid_image"
IMAGE_TOO_LARGE: Final = "image_too_large"
PROMPT_TOO_LONG: Final = "prompt_too_long"
NO_MEMORY: Final = "out_of_memory"
NO_MEMORY_WORDS: Final = (
    "out of memory",
    "not enough memory",
    "defaultcpuallocator",
    "failed to allocate",
    "bad_alloc",
)
"""Of libraries that have no error of their own for it: PyTorch, CTranslate2, ONNX Runtime."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a computation did not find the memory that it wanted."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY_WORDS)
