"""Plain JSON schemas (:mod:`modelhost.engines.schemas.plain`) in the form that vLLM's grammars accept.

vLLM refuses a request whose schema has something that xgrammar (https://github.com/mlc-ai/xgrammar) does not enforce:
``has_xgrammar_unsupported_json_features`` in its source, and what the library itself fails at. Here such a keyword is
left out, so that the rest is enforced: the host checks the answer against the whole schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from modelhost.engines.schemas.plain import OF_SCHEMAS, VALUES

FORMATS: Final = frozenset(
    {
        *("date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
        *("uri", "uri-reference", "uri-template", "json-pointer", "relative-json-pointer"),
    }
)
NEVER_ENFORCED: Final = ("multipleOf", "uniqueItems", "contains", "minContains", "maxContains")
LENGTHS: Final = ("minLength", "maxLength")
INCLUSIVE: Final = ("minimum", "maximum")
EXCLUSIVE: Final = ("exclusiveMinimum", "exclusiveMaximum")
# Backslashes come in pairs, or with what they escape.
_UNKNOWN_IN_PATTERNS: Final = re.compile(r"(?:[^\\]|\\[^bBpPk1-9])*?(?:\\[bBpPk1-9]|\(\?(?!:|[=!]|P?<[A-Za-z_]))")


def enforceable(schema: Any) -> Any:
    """Return ``schema`` without the keywords for which vLLM would refuse it."""
    if isinstance(schema, list):
        return [enforceable(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key in OF_SCHEMAS and isinstance(value, Mapping):
            made[key] = {name: enforceable(each) for name, each in value.items()}
        else:
            made[key] = value if key in VALUES else enforceable(value)
    dropped = {*NEVER_ENFORCED, *_of_texts(made), *_of_objects(made), *_of_numbers(made)}
    if len(made.get("allOf", ())) > 1:
        dropped.add("allOf")
    return {key: value for key, value in made.items() if key not in dropped}


def _of_texts(schema: Mapping[str, Any]) -> set[str]:
    dropped = set()
    if "pattern" in schema and _UNKNOWN_IN_PATTERNS.match(schema["pattern"]):
        dropped.add("pattern")
    if "format" in schema and str(schema["format"]) not in FORMATS:
        dropped.add("format")
    if ({"pattern", "format"} & schema.keys()) - dropped:
        dropped.update(LENGTHS)  # of the two, the pattern is more specific
    return dropped


def _of_objects(schema: Mapping[str, Any]) -> set[str]:
    dropped = set()
    if {"properties", "patternProperties"} & schema.keys() or not schema.get("unevaluatedProperties", True):
        dropped.add("propertyNames")
    patterns = schema.get("patternProperties", ())
    if "properties" in schema or len(patterns) > 1 or any(map(_UNKNOWN_IN_PATTERNS.match, patterns)):
        dropped.add("patternProperties")
    if not schema.get("additionalProperties") and schema.get("minProperties", 0) > len(schema.get("properties", ())):
        dropped.add("minProperties")
    return dropped


def _of_numbers(schema: Mapping[str, Any]) -> set[str]:
    """Return bounds that contradict each other, and fractional bounds of whole numbers."""
    least = max(schema.get(name, -math.inf) for name in (INCLUSIVE[0], EXCLUSIVE[0]))
    most = min(schema.get(name, math.inf) for name in (INCLUSIVE[1], EXCLUSIVE[1]))
    if least > most or (least == most and not {*EXCLUSIVE}.isdisjoint(schema)):
        return {*INCLUSIVE, *EXCLUSIVE}
    if schema.get("type") != "integer":
        return set()
    return {name for name in (*INCLUSIVE, *EXCLUSIVE) if name in schema and schema[name] != int(schema[name])}
