"""How the messages of a chat become a prompt, alike for every engine: by which template, and where its answers end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from modelhost.engines.launch import ModelSpec

FOLDER: Final = Path(__file__).parent / "chat_templates"
PLAIN: Final = "plain"
STOPS: Final[Mapping[str, tuple[str, ...]]] = {
    "alpaca": ("\n### Instruction:",),
    "chatml": ("<|im_end|>",),
    "gemma": ("<end_of_turn>",),
    "llama2": ("[INST]",),
    "llama3": ("<|eot_id|>",),
    "mistral": ("[INST]",),
    "phi3": ("<|end|>",),
    PLAIN: ("\nuser:",),
    "vicuna": ("USER:",),
    "zephyr": ("<|user|>",),
}
"""The templates that come with modelhost, with what ends an answer. To a model that was not made for one, its marks are
text like any other: it would go on after them."""


@cache
def bundled_template(name: str) -> str:
    """Return the text of the template ``name``, one of ``STOPS``."""
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def prompt_config(spec: ModelSpec) -> dict[str, Any]:
    """Return the part of a worker's configuration that says how it makes prompts.

    A base model has no template: its prompt is the lines of a conversation, which it goes on writing, and its answer
    ends where it begins the next line of the user's. Engines by themselves would refuse it, or take the marks of a
    format that such a model has never seen.

    * ``chat_template``: the one to be used, ``None`` for the model's own;
    * ``chat_stops``: texts at which its answers end;
    * ``adds_special``: whether the prompt is to begin as the model's tokenizer begins a text. Those of modelhost write
      no token there, since they do not know the model; its own template does.
    """
    template = spec.chat_template
    if template is None and not spec.has_chat_template:
        template = bundled_template(PLAIN)
    name = next((name for name in STOPS if template == bundled_template(name)), None) if template else None
    return {"chat_template": template, "chat_stops": STOPS[name] if name else (), "adds_special": name is not None}
