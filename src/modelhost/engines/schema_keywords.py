"""Which keywords of a JSON schema the engines enforce token by token; an answer is held against all of them anyway.

``docs/reference/engines.md`` has it as a table, and ``tests/integration/engines`` asks every engine for each line. It
is said of the engines as modelhost sets them up: a ``llama-server`` or a build of llama.cpp without llguidance enforces
less, and a server elsewhere what it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KEYWORDS: Final[Mapping[str, str]] = {
    "values": "`type`, `enum`, `const`",
    "properties": "`properties`, `required`, `additionalProperties`",
    "required_undeclared": "`required` of names that `properties` does not have",
    "property_counts": "`minProperties`, `maxProperties`, where other properties are allowed",
    "pattern_properties": "`patternProperties`",
    "pattern_properties_beside": "`patternProperties` beside `properties`",
    "property_names": "`propertyNames`",
    "items": "`items`, `prefixItems`, `minItems`, `maxItems`",
    "unique_items": "`uniqueItems`, `contains`, `minContains`, `maxContains`",
    "lengths": "`minLength`, `maxLength`",
    "pattern": r"`pattern`, with `\d` `\w` `\s` and without anchors, too",
    "pattern_and_length": "`pattern` beside a length",
    "pattern_looks": r"`pattern` that looks around (`(?!...)`), refers back or has `\b`",
    "format": "`format`: `date`, `time`, `date-time`, `email`, `uuid`, `ipv4`, `ipv6`, `uri`, `hostname` ...",
    "format_other": "other formats (`idn-hostname`, `regex` ...)",
    "bounds": "`minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, of fractions, too",
    "multiple_of": "`multipleOf`",
    "any_of": "`anyOf`",
    "one_of": "`oneOf` whose branches exclude one another",
    "one_of_overlapping": "`oneOf` whose branches overlap",
    "all_of": "`allOf`",
    "references": "`$ref`, recursion among them",
    "negations": "`not`, `if`, `then`, `else`",
    "dependent": "`dependentRequired`, `dependentSchemas`",
}
"""Groups of keywords that an engine enforces alike, by a short name."""

_LLGUIDANCE: Final = frozenset(
    {
        *("property_names", "unique_items", "pattern_looks", "format_other"),
        *("one_of_overlapping", "negations", "dependent"),
    }
)
_XGRAMMAR: Final = _LLGUIDANCE | {
    *("required_undeclared", "property_counts", "pattern_properties_beside", "pattern_and_length"),
    *("multiple_of", "all_of"),
}
CHECKED_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "llamacpp": _LLGUIDANCE,
    "mlx": _LLGUIDANCE,
    "transformers": _LLGUIDANCE,
    "vllm": _XGRAMMAR,
    "mistralrs": _LLGUIDANCE,
}
"""What an engine does not enforce, by its name."""
