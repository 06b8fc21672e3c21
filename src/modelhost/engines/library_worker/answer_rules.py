"""What an answer has to be, by vLLM's ``structured_outputs``, as part of a grammar of llguidance.

Source: https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.engines.library_worker.json_rules import ANY_OBJECT, json_rule

STRUCTURED: Final = "structured_outputs"
GRAMMAR: Final = "grammar"
"""The kind that is a whole grammar, and no part of one."""
_BARE_SLASH: Final = re.compile(r"(?<!\\)((?:\\\\)*)/")
_LAST_DOLLAR: Final = re.compile(r"(?<!\\)((?:\\\\)*)\$\Z")


def answer_rule(kind: str, value: Any) -> str:
    """Return the part of a grammar that an answer of this ``kind`` follows: JSON, a regular expression, or a choice."""
    if kind == "regex":
        return regex_rule(value)
    if kind == "choice":
        return choice_rule(value)
    return json_rule(ANY_OBJECT if kind == "json_object" else value)


def regex_rule(pattern: str) -> str:
    """Return the rule of all texts that are whole matches of ``pattern``, whether it says so or not."""
    whole = _LAST_DOLLAR.sub(r"\1", pattern.removeprefix("^"))
    inside = _BARE_SLASH.sub(r"\1\/", whole).replace("\n", r"\n")
    return f"/{inside}/"


def choice_rule(choices: Sequence[str]) -> str:
    """Return the rule of ``choices``."""
    return " | ".join(json.dumps(each, ensure_ascii=False) for each in choices)


def only_of(structured: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the kind and the value of ``structured``; the host has seen to it that there is one."""
    ((kind, value),) = structured.items()
    return kind, value
