"""Documents in requests: models get their text."""

from __future__ import annotations

import base64
from typing import Final

from modelhost.errors import InvalidRequest

PLAIN_TEXT: Final = "text/"
UNREADABLE: Final = (
    "[A document that is not text, such as a PDF, was returned here. It cannot be shown to you. Convert it to text, "
    "for example with pdftotext, and read that.]"
)
"""What the model gets in the place of a document that a tool returned. A refusal would end the conversation, since the
client sends the result with each further request."""


def text_in_base64(data: str, param: str) -> str:
    """Return the text in ``data``; raises InvalidRequest if it is none."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:  # characters that are none of base64's, a wrong length, or bytes that are no text
        raise InvalidRequest(f"{param}: it is not text in UTF-8, in base64.", param=param) from None
