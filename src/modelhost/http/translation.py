"""What doors of other APIs share: fields of engines, arguments of calls as objects, documents as text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost import json_text
from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest
from modelhost.exchange.messages import Message
from modelhost.http.validation import note_ignored

TEMPLATE: Final = "chat_template_kwargs"
EFFORT: Final = "reasoning_effort"
CONTINUE: Final = "continue_final_message"
BEGIN: Final = "add_generation_prompt"


def supported(engine: Engine, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``fields`` that ``engine`` supports in a chat; the others are noted."""
    of_engine = engine.fields("chat")
    for name in fields:
        if name not in of_engine:
            note_ignored(name)
    return {name: value for name, value in fields.items() if name in of_engine}


def continuation(engine: Engine, messages: Sequence[Message]) -> dict[str, Any]:
    """Return the fields with which ``engine`` continues a last message of the assistant, if there is one."""
    if messages[-1].role != "assistant" or engine.continues_final_message:
        return {}
    return supported(engine, {CONTINUE: True, BEGIN: False})


INVALID: Final = "INVALID_JSON"
"""Where Anthropic's documentation has clients put arguments that are not valid."""


def arguments_in(text: str) -> dict[str, Any]:
    """Return the arguments in ``text``, or under a name of their own if they are no JSON object."""
    try:
        found = json_text.decode(text) if text.strip() else {}
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {INVALID: text}


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
