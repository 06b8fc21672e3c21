"""JSON of a schema as part of a grammar of llguidance (https://github.com/guidance-ai/llguidance)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
BOUNDED: Mapping[str, Any] = {"whitespace_pattern": r"\n?[ \t]{0,32}"}
"""Blanks between the tokens of JSON. Bounded: a small model would write them for ever."""


def json_rule(schema: Mapping[str, Any], style: Mapping[str, Any] = BOUNDED) -> str:
    """Return the part of a grammar that is JSON of ``schema``, with blanks as ``style`` has them.

    Options: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md#whitespace-handling
    """
    return f"%json {json.dumps({**schema, 'x-guidance': style})}"
