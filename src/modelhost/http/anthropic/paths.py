"""The paths of Anthropic's API, known before the door is imported."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
PATHS: Final = (MESSAGES, COUNT)
BELOW: Final = f"{MESSAGES}/"
VERSION: Final = b"anthropic-version"
"""The header that clients of this API send, in lower case."""


def is_anthropic(path: str, headers: Container[bytes]) -> bool:
    """Whether errors at ``path`` are in Anthropic's format; below its paths also where nothing is.

    Elsewhere the header decides: clients of several APIs ask for the list of models.
    """
    return path == MESSAGES or path.startswith(BELOW) or VERSION in headers
