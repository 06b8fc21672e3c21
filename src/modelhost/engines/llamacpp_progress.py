"""What llama.cpp tells of a prompt that it works on: an event when a slot begins with it, and one after each batch.

Each is a chunk without text. In generated text the quotes around the name would be escaped: nothing looks like it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.llamacpp_infill import END_OF_EVENT

FIELD: Final = "return_progress"
MARK: Final = b'"prompt_progress":'


class ProgressEvents:
    """The :class:`~modelhost.engines.base.PromptProgress` of llama.cpp."""

    def wanted(self, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, FIELD: True}

    def is_wanted(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get(FIELD))

    def without(self, block: bytes) -> bytes:
        if MARK not in block:
            return block
        return b"".join(event + END_OF_EVENT for event in block.split(END_OF_EVENT) if event and MARK not in event)
