"""How the messages of a chat become a prompt, alike for every engine: by which template, and where its answers end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from modelhost.engines.base import ModelSpec

FOLDER: Final = Path(__file__).parent / "chat_templates"
PLAIN: Final = "plain"
PLAIN_STOPS: Final = ("\nuser:",)


def shipped_template(name: str) -> str:
    """Return the text of the template ``name`` of those that come with modelhost; it has to be one."""
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def prompting(spec: ModelSpec) -> dict[str, Any]:
    """Return the part of a worker's configuration that says how it makes prompts.

    A base model has no template: its prompt is the lines of a conversation, which it goes on writing, and its answer
    ends where it begins the next line of the user's. Engines by themselves would refuse it, or take the marks of a
    format that such a model has never seen.

    * ``chat_template``: the one to be used, ``None`` for the model's own;
    * ``chat_stops``: texts at which its answers end;
    * ``is_plain``: whether the prompt is a text like any other, to be begun as the tokenizer begins one. Other
      templates write the token themselves that stands there.
    """
    plain = shipped_template(PLAIN)
    template = plain if spec.chat_template is None and not spec.has_chat_template else spec.chat_template
    is_plain = template == plain
    return {"chat_template": template, "chat_stops": PLAIN_STOPS if is_plain else (), "is_plain": is_plain}
