"""Arguments of calls as objects, at doors where they are no text."""

from __future__ import annotations

from typing import Any, Final

from modelhost import json_text

INVALID: Final = "INVALID_JSON"
"""Where Anthropic's documentation has clients put arguments that are not valid."""


def arguments_in(text: str) -> dict[str, Any]:
    """Return the arguments in ``text``, or under a name of their own if they are no JSON object."""
    try:
        found = json_text.decode(text) if text.strip() else {}
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {INVALID: text}
