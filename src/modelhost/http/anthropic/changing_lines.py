"""Lines of system prompts that differ in every request of a program, and would have the whole prompt computed anew.

An engine reuses the computed prompt of the turn before as far as the next one begins with the same tokens. Claude Code
begins its system prompt with a line that holds a hash of the request, so that nothing is reused: minutes for each turn
of a long conversation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

CHANGING: Final = re.compile(r"^x-anthropic-billing-header:.*(?:\n|\Z)", re.MULTILINE)
"""What Claude Code sends: a version, and ``cch=`` with a hash. It is for Anthropic's accounting, and tells a model
nothing."""


def without_changing_lines(texts: Sequence[str]) -> list[str]:
    """Return the blocks of a system prompt without such lines; those are at the beginning of a block."""
    return [CHANGING.sub("", text) for text in texts]
