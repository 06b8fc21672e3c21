"""Templates in Go's language, as Ollama's models have them: recognised by their markers, not translated.

The families are those of the templates that come with modelhost (:mod:`modelhost.engines.prompting`).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

from modelhost import lazy
from modelhost.engines.prompting import STOPS, bundled_template
from modelhost.errors import InvalidRequest

MARKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "phi4": ("<|im_start|>", "<|im_sep|>"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "llama2": ("[INST]", "<<SYS>>"),
    "mistral": ("[INST]", "[/INST]"),
    "phi3": ("<|user|>", "<|end|>"),
    "zephyr": ("<|user|>", "<|assistant|>"),
    "alpaca": ("### Instruction:", "### Response:"),
    "vicuna": ("USER:", "ASSISTANT:"),
}
"""What the templates of each family contain; the first family that fits counts. The last marker is there in Jinja, too,
where the names of roles may be put in."""
NEEDED: Final[Mapping[str, str]] = {"zephyr": "</s>"}
"""What a template also has if it is that of the family which comes with modelhost. With the markers of Zephyr, those of
Falcon 3, GLM 4 and OLMo 2 end turns otherwise."""
FOREIGN: Final[Mapping[str, str]] = {"mistral": "[SYSTEM_PROMPT]"}
"""What it does not have. With the markers of Mistral, those of Mistral Small 3 have another place for instructions."""
JINJA: Final = "{%"
"""In every template of Jinja that goes through messages, and in none of Go."""


def family_of(template: str) -> str | None:
    """Return the family of ``template``, in Go's language; ``None`` if it is none of those known."""
    return next((name for name, marks in MARKERS.items() if all(mark in template for mark in marks)), None)


def jinja_of(template: str, own: str | None, unknown: Set[str] = frozenset()) -> str | None:
    """Return the chat template for a model whose files have the template ``own``; ``None``: its own serves. Blocks.

    ``unknown`` are statements of Jinja that the engine of the model does not know.

    Raises:
        InvalidRequest: it is of no known family, or is Jinja and does not compile or has a statement that cannot be.
    """
    if JINJA in template:
        lazy.http_ollama_jinja.check_jinja(template, unknown)
        return template
    family = family_of(template)
    # Its own is made for the model, and mostly knows more, such as tools.
    if family is not None and own is not None and MARKERS[family][-1] in own:
        return None
    if family is None or not _is_typical(template, family):
        raise InvalidRequest(
            "template: this host reads templates in Jinja, and of those in Go's language the usual ones of "
            f"{', '.join(MARKERS)}. Leave it out, so that the model's own is used, or send it in Jinja.",
            param="template",
        )
    return family


def _is_typical(template: str, family: str) -> bool:
    """Whether the template of ``family`` that comes with modelhost may stand for ``template``."""
    needed, foreign = NEEDED.get(family), FOREIGN.get(family)
    return (needed is None or needed in template) and (foreign is None or foreign not in template)


def shown_template(chat_template: str | None) -> str | None:
    """Return the text of a template of the settings, which may be the name of one that comes with modelhost."""
    return bundled_template(chat_template) if chat_template in STOPS else chat_template
