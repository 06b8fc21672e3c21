"""How the messages of a chat become a prompt, for every engine: the template, and the stop strings that go with it."""

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
    "phi4": ("<|im_end|>",),
    PLAIN: ("\nuser:",),
    "vicuna": ("USER:",),
    "zephyr": ("<|user|>",),
}
"""The templates that come with modelhost, with the stop strings of their answers. To a model that was not trained on a
template, its markers are ordinary text: it would continue after them."""


@cache
def bundled_template(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def prompt_config(spec: ModelSpec) -> dict[str, Any]:
    """Return the part of a worker's configuration that determines how it makes prompts.

    A base model has no template: its prompt is the lines of a conversation, which it continues, and its answer ends
    where it begins the user's next line. Without this, engines would refuse the request or use the markers of a format
    that such a model has never seen.

    * ``chat_template``: the template to use, ``None`` for the model's own;
    * ``chat_stops``: stop strings of its answers;
    * ``adds_special``: whether the tokenizer adds the tokens with which it begins a text. A model's own template writes
      them; modelhost's templates do not, since they do not know the model.
    """
    template = spec.chat_template
    if template is None and not spec.has_chat_template:
        template = bundled_template(PLAIN)
    name = next((name for name in STOPS if template == bundled_template(name)), None) if template else None
    return {"chat_template": template, "chat_stops": STOPS[name] if name else (), "adds_special": name is not None}
