"""The engine's own request fields that doors of other APIs set, where the engine has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.engines.base import Engine
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
