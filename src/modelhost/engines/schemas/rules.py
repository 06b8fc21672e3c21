"""Constraints of an answer as a rule of a grammar of llguidance: JSON of a schema, a regular expression, a choice.

Keywords that llguidance (https://github.com/guidance-ai/llguidance) does not support are left out: the host checks the
answer against the schema. The kinds are those of vLLM's ``structured_outputs``:
https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.engines.schemas.limits import LARGEST_NUMBER, is_too_large
from modelhost.engines.schemas.plain import OF_SCHEMAS, VALUES

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
BOUNDED: Mapping[str, Any] = {"whitespace_pattern": r"\n?[ \t]{0,32}"}
"""Blanks between the tokens of JSON. Bounded, since a small model would write them forever."""
COMPACT: Mapping[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""The separators of Python's ``json.dumps``, which templates use for calls and models were trained on."""
NUMBERS: Final = frozenset({"const", "enum"})
"""Keywords that enumerate numbers."""
SIDES: Final = (("minimum", "exclusiveMinimum", -LARGEST_NUMBER), ("maximum", "exclusiveMaximum", LARGEST_NUMBER))
OF_DOCUMENTS: Final = frozenset(
    {"$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$vocabulary"}
)
"""Identifiers of the schema and its dialect: llguidance looks for such documents, which are never fetched."""
BOUNDS: Final = tuple(name for inclusive, exclusive, _ in SIDES for name in (inclusive, exclusive))
PATTERN: Final = re.compile(
    r"\^?(?:"
    r"\\[dwsDWSnrtfv]|\\[^\w\s<>]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[pP]\{\w+\}"  # escapes
    r"|\[\^?(?:[^\]\[\\&~-]|-(?!-)|&(?!&)|~(?!~)|\\[dwsDWSnrtfv]|\\[^\w\s<>])+\]"  # classes
    r"|\((?:\?:|(?!\?))|\)|\||[*+?]\??|\{\d+(?:,\d*)?\}\??|[^\\\[\](){}*+?|^$]"
    r")*\$?"
)
"""Patterns with the same meaning in Python, JavaScript and llguidance, without lookarounds and back references."""


def json_rule(schema: Mapping[str, Any], style: Mapping[str, Any] = BOUNDED) -> str:
    """Return the part of a grammar that is JSON of ``schema``, with blanks as ``style`` has them.

    Options: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md#whitespace-handling
    """
    return f"%json {json.dumps({**known(schema), 'x-guidance': {**style, 'lenient': True}})}"


def is_known(pattern: str) -> bool:
    """Whether llguidance certainly accepts ``pattern``."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return _is_taken(pattern)


def _is_taken(pattern: str) -> bool:
    return PATTERN.fullmatch(pattern) is not None and not is_too_large(pattern)


def known(schema: Any) -> Any:
    """Return ``schema`` without what llguidance fails at, since llama.cpp then enforces nothing at all."""
    if isinstance(schema, list):
        return [known(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in OF_DOCUMENTS:
            continue
        if key in OF_SCHEMAS and isinstance(value, Mapping):
            made[key] = {name: known(each) for name, each in value.items()}
        else:
            made[key] = value if key in VALUES else known(value)
    if "$ref" in made:
        made.pop("type", None)  # which stands there for templates: of what leads back to itself it makes no end
    if isinstance(pattern := made.get("pattern"), str) and not _is_taken(pattern):
        del made["pattern"]
    if not isinstance(made.get("format", ""), str):
        del made["format"]
    _settle_numbers(made)
    if made.get("type") in ("integer", "number") and NUMBERS.isdisjoint(made):
        # Bounds, for the reason in modelhost.engines.schemas.limits; here either side may be open separately.
        made.update({name: bound for name, other, bound in SIDES if name not in made and other not in made})
    return made


def _settle_numbers(made: dict[str, Any]) -> None:
    """Remove from ``made`` an invalid step, and bounds without a number between them."""
    step = made.get("multipleOf")
    if step is not None and not (_is_number(step) and step > 0):
        del made["multipleOf"]
        step = None
    given = {name: made[name] for name in BOUNDS if _is_number(made.get(name))}
    if given and not _has_numbers(given, step or (1 if made.get("type") == "integer" else None)):
        for name in given:
            del made[name]


def _has_numbers(bounds: Mapping[str, float], step: float | None) -> bool:
    """Whether there is a number between ``bounds`` that is a multiple of ``step``, if that is given."""
    least, above, most, below = (bounds.get(name) for name in BOUNDS)
    low, high = max(_sided(least, above, -math.inf)), min(_sided(most, below, math.inf))
    if step is not None and math.isfinite(low) and math.isfinite(high):
        first = math.ceil(low / step) * step
        low = first + step if first == above else first
        return low < high or (low == high and high != below)
    return low < high or (low == high and low != above and high != below)


def _sided(inclusive: float | None, exclusive: float | None, missing: float) -> tuple[float, float]:
    return (missing if inclusive is None else inclusive, missing if exclusive is None else exclusive)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


STRUCTURED: Final = "structured_outputs"
GRAMMAR: Final = "grammar"
"""The kind that is a complete grammar, not a rule."""
_BARE_SLASH: Final = re.compile(r"(?<!\\)((?:\\\\)*)/")
_LAST_DOLLAR: Final = re.compile(r"(?<!\\)((?:\\\\)*)\$\Z")


def answer_rule(kind: str, value: Any) -> str:
    """Return the rule of an answer of this ``kind``: JSON, a regular expression, or a choice."""
    if kind == "regex":
        return regex_rule(value)
    if kind == "choice":
        return choice_rule(value)
    return json_rule(ANY_OBJECT if kind == "json_object" else value)


def regex_rule(pattern: str) -> str:
    """Return the rule of all texts that match ``pattern`` completely, with or without anchors."""
    whole = _LAST_DOLLAR.sub(r"\1", pattern.removeprefix("^"))
    inside = _BARE_SLASH.sub(r"\1\/", whole).replace("\n", r"\n")
    return f"/{inside}/"


def choice_rule(choices: Sequence[str]) -> str:
    return " | ".join(json.dumps(each, ensure_ascii=False) for each in choices)


def only_of(structured: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the kind and the value of ``structured``; the host has checked that there is exactly one."""
    ((kind, value),) = structured.items()
    return kind, value
