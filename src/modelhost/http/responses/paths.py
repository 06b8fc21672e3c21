"""The paths of OpenAI's Responses API, known before the door is imported."""

from __future__ import annotations

from typing import Final

RESPONSES: Final = "/v1/responses"
INPUT_TOKENS: Final = "/v1/responses/input_tokens"
PATHS: Final = (RESPONSES, INPUT_TOKENS)
"""Those that generate or count, with POST."""

COMPACT: Final = "/v1/responses/compact"
RESPONSE: Final = "/v1/responses/{response_id}"
CANCEL: Final = "/v1/responses/{response_id}/cancel"
INPUT_ITEMS: Final = "/v1/responses/{response_id}/input_items"
CONVERSATIONS: Final = "/v1/conversations"
CONVERSATION: Final = "/v1/conversations/{conversation_id}"
CONVERSATION_ITEMS: Final = "/v1/conversations/{conversation_id}/items"
CONVERSATION_ITEM: Final = "/v1/conversations/{conversation_id}/items/{item_id}"
STORED: Final = (
    ("POST", COMPACT),
    ("GET", RESPONSE),
    ("DELETE", RESPONSE),
    ("POST", CANCEL),
    ("GET", INPUT_ITEMS),
    ("POST", CONVERSATIONS),
    ("GET", CONVERSATION),
    ("POST", CONVERSATION),
    ("DELETE", CONVERSATION),
    ("GET", CONVERSATION_ITEMS),
    ("POST", CONVERSATION_ITEMS),
    ("GET", CONVERSATION_ITEM),
    ("DELETE", CONVERSATION_ITEM),
)
"""The methods and paths of what is stored."""


def route_of(path: str) -> str:
    """Return ``path`` for a router: ids of items, which clients may choose, may have slashes."""
    return path.replace("{item_id}", "{item_id:path}")
