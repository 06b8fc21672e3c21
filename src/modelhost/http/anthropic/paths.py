"""The paths of Anthropic's API, known before the door is imported."""

from __future__ import annotations

from typing import Final

MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
PATHS: Final = (MESSAGES, COUNT)
