"""Tool calls as Hermes and Qwen models write them, and the grammar of a call that has to be made.

A call is ``<tool_call>``, the JSON ``{"name": ..., "arguments": {...}}`` and ``</tool_call>``
(https://github.com/NousResearch/Hermes-Function-Calling).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modelhost.engines.library_worker.json_rules import json_rule
from modelhost.engines.number_bounds import bounded
from modelhost.engines.worker_http import Refused, error_body

OPENING, CLOSING = "<tool_call>", "</tool_call>"
XML_CALLS = "<function="
"""What stands in templates whose calls are no JSON (Qwen3-Coder)."""
STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
"""The separators of Python's ``json.dumps``, with which templates show calls and models have learned them. What cannot
be enforced of the schema of a tool is left to the tool, which checks its arguments itself."""
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def check_template(template: str | None, model: str) -> None:
    """Check that a model with the chat template ``template`` writes calls in this form.

    Raises:
        Refused: it does not, or has no tools at all.
    """
    if template is None or "tools" not in template:
        message = f"the chat template of {model} shows no tools to the model, so it cannot call any"
    elif OPENING not in template or XML_CALLS in template:
        message = f"{model} writes its tool calls in a form that this engine is not supported to read; llama.cpp may be"
    else:
        return
    raise Refused(400, error_body(400, "not_supported_error", message))


def call_grammar(tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
    """Return the Lark grammar of exactly one call of one of ``tools``.

    ``vocabulary`` are the tokens that are added to the model's own: a marker among them is one token.
    """
    schemas = [_call_schema(tool["function"]) for tool in tools]
    bodies = " | ".join(f"call_{number}" for number in range(len(schemas)))
    rules = [f"call_{number}: {json_rule(schema, STYLE)}" for number, schema in enumerate(schemas)]
    opening, closing = (_literal(marker, vocabulary) for marker in (OPENING, CLOSING))
    return "\n".join([f'start: {opening} "\\n" ({bodies}) "\\n" {closing}', *rules])


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a call, with definitions at its root, where references look for them."""
    parameters = dict(function.get("parameters") or _NO_ARGUMENTS)
    definitions = {key: parameters.pop(key) for key in ("$defs", "definitions") if key in parameters}
    return {
        **bounded(definitions),
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": {"type": "object", **bounded(parameters)}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _literal(marker: str, vocabulary: Mapping[str, int]) -> str:
    return f"<[{vocabulary[marker]}]>" if marker in vocabulary else json.dumps(marker)
