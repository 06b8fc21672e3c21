"""Dialogues to text through the chat template, as transformers does it."""

import json
from pathlib import Path

import jinja2

from training.dialogues import Dialogue

TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - a prompt is not HTML
    # Jinja's own filter escapes quotes and angle brackets for HTML; transformers replaces it in the same way.
    environment.filters["tojson"] = lambda item: json.dumps(item, ensure_ascii=False)
    return environment


_template = _environment().from_string(TEMPLATE)


def render(messages: list[dict], tools: list[dict] | None = None, add_generation_prompt: bool = False) -> str:
    """The prompt text for messages and tools in OpenAI's form."""
    return _template.render(messages=messages, tools=tools or None, add_generation_prompt=add_generation_prompt)


def render_dialogue(dialogue: Dialogue) -> str:
    return render(dialogue.messages, dialogue.schemas())
