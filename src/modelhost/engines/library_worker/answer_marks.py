"""The markers of the parts of an answer: thoughts, and the frames that some models put around what they say.

``<think>`` as DeepSeek R1 and Qwen3 write it. The others are Cohere's: in the templates of Command R7B and Command A a
turn is ``<|START_THINKING|>...<|END_THINKING|>`` and then an action or ``<|START_RESPONSE|>...<|END_RESPONSE|>``, which
in those of later models is ``<|START_TEXT|>...<|END_TEXT|>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

THOUGHTS: Final[Mapping[str, str]] = {"<think>": "</think>", "<|START_THINKING|>": "<|END_THINKING|>"}
"""What thoughts begin with, and what ends them."""
FRAMES: Final[Mapping[str, str]] = {"<|START_RESPONSE|>": "<|END_RESPONSE|>", "<|START_TEXT|>": "<|END_TEXT|>"}
"""What stands before all that is said, and behind it."""
ANSWER_MARKS: Final = (
    *("<tool_call>", "</tool_call>"),
    *(mark for pairs in (THOUGHTS, FRAMES) for pair in pairs.items() for mark in pair),
)
"""All of them, with those of the form of calls that most models have."""
FRAME_ENDS: Final = tuple(FRAMES.values())
_LAST: Final = re.compile(rf"\s*(?:{'|'.join(map(re.escape, FRAME_ENDS))})\s*$")


def unframed(text: str) -> str:
    """Return ``text`` without the end of a frame, if that is the last of it."""
    return _LAST.sub("", text)
