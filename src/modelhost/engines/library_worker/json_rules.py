"""JSON of a schema as part of a grammar of llguidance (https://github.com/guidance-ai/llguidance).

What llguidance does not know is passed over: the host holds the answer against the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.number_bounds import LARGEST_NUMBER
from modelhost.engines.plain_schemas import OF_SCHEMAS, VALUES

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
BOUNDED: Mapping[str, Any] = {"whitespace_pattern": r"\n?[ \t]{0,32}"}
"""Blanks between the tokens of JSON. Bounded: a small model would write them for ever."""
COMPACT: Mapping[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""The separators of Python's ``json.dumps``, with which templates show calls and models have learned them."""
NUMBERS: Final = frozenset({"const", "enum"})
"""What says which numbers there may be, one by one."""
SIDES: Final = (("minimum", "exclusiveMinimum", -LARGEST_NUMBER), ("maximum", "exclusiveMaximum", LARGEST_NUMBER))
PATTERN: Final = re.compile(
    r"\^?(?:"
    r"\\[dwsDWSnrtfv]|\\[^\w\s<>]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[pP]\{\w+\}"  # escapes
    r"|\[\^?(?:[^\]\[\\&~-]|-(?!-)|&(?!&)|~(?!~)|\\[dwsDWSnrtfv]|\\[^\w\s<>])+\]"  # classes
    r"|\((?:\?:|(?!\?))|\)|\||[*+?]\??|\{\d+(?:,\d*)?\}\??|[^\\\[\](){}*+?|^$]"
    r")*\$?"
)
"""What Python, JavaScript and llguidance read alike; it looks around nowhere, and refers to nothing before."""


def json_rule(schema: Mapping[str, Any], style: Mapping[str, Any] = BOUNDED) -> str:
    """Return the part of a grammar that is JSON of ``schema``, with blanks as ``style`` has them.

    Options: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md#whitespace-handling
    """
    return f"%json {json.dumps({**known(schema), 'x-guidance': {**style, 'lenient': True}})}"


def is_known(pattern: str) -> bool:
    """Whether llguidance surely takes ``pattern``."""
    try:
        re.compile(pattern)
    except re.error:
        return False
    return PATTERN.fullmatch(pattern) is not None


def known(schema: Any) -> Any:
    """Return ``schema`` without what llguidance fails at; in llama.cpp it then binds nothing at all."""
    if isinstance(schema, list):
        return [known(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in OF_SCHEMAS and isinstance(value, Mapping):
            made[key] = {name: known(each) for name, each in value.items()}
        else:
            made[key] = value if key in VALUES else known(value)
    if "$ref" in made:
        made.pop("type", None)  # which stands there for templates: of what leads back to itself it makes no end
    if isinstance(pattern := made.get("pattern"), str) and PATTERN.fullmatch(pattern) is None:
        del made["pattern"]
    if made.get("type") in ("integer", "number") and NUMBERS.isdisjoint(made):
        # Bounds, for the reason that modelhost.engines.number_bounds gives; here either side may be open by itself.
        made.update({name: bound for name, other, bound in SIDES if name not in made and other not in made})
    return made
