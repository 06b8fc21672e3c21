"""Constraints of an answer for llama.cpp: a JSON schema, a regular expression, a grammar, a required tool call.

llama.cpp's own converter of schemas ignores what it does not support: patterns with ``\\d`` or without anchors, bounds
of fractions, ``format``. llguidance (https://github.com/guidance-ai/llguidance) enforces most of it, in workers built
with it. A grammar constrains the answer from its first token on, so that models whose template makes them think
first use llama.cpp's own converter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from modelhost.engines.base import INPUT_GRAMMAR
from modelhost.engines.launch import ModelSpec
from modelhost.engines.llamacpp.features import LLGUIDANCE
from modelhost.engines.llamacpp.preparation import BEGINNING, with_renamed_start
from modelhost.engines.schemas.plain import VALUES
from modelhost.engines.schemas.rules import COMPACT, choice_rule, is_known, json_rule, only_of, regex_rule
from modelhost.errors import InvalidRequest, UnsupportedParameter

THINKING: Final = ("<think", "[THINK]", "<|channel|>", "reasoning_content")
"""Marks in the templates of models that think first."""
INPUT_RULE: Final = "input_of_tool"
UNFORCED: Final = '{"no_forcing": true}'
"""Makes llguidance accept fixed text as it is. By default it tokenizes such text with the model's tokenizer, which
takes the name of a special token, such as ``<|im_end|>``, for the token, so that no text can follow the grammar."""
_NAMES_TOKENS: Final = re.compile(r"<|\[/?[A-Z_]{3,}\\?\]")
"""What may be the name of a special token."""


def may_think_first(spec: ModelSpec) -> bool:
    """Return whether the template of a model may make it think before it answers."""
    template = spec.chat_template or spec.own_chat_template or ""
    return any(mark in template for mark in THINKING)


def constraint_of(structured: Mapping[str, Any]) -> dict[str, Any]:
    """Return vLLM's ``structured_outputs`` as fields of llama.cpp.

    Raises:
        UnsupportedParameter: llguidance fails at the regular expression, so that llama.cpp would enforce nothing.
    """
    kind, value = only_of(structured)
    if kind == "json":
        return {"json_schema": value}
    if kind == "json_object":
        return {"json_schema": {"type": "object"}}
    if kind == "choice":
        return {"grammar": f"root ::= {choice_rule(value)}"}
    if kind == "regex":
        if not is_known(value):
            raise UnsupportedParameter(
                "structured_outputs.regex: llama.cpp cannot hold an answer to it: it looks around, refers to what came "
                "before, repeats too much, or is no regular expression.",
                param="structured_outputs.regex",
            )
        return {"grammar": _grammar(f"start: {regex_rule(value)}")}
    return {"grammar": value}


def check_llguidance(body: Mapping[str, Any], features: Collection[str]) -> None:
    """Check that a worker with ``features`` accepts the grammar of ``body``: otherwise its process would end.

    Raises:
        UnsupportedParameter: it does not accept it.
    """
    grammar = body.get("grammar")
    if isinstance(grammar, str) and grammar.startswith(BEGINNING) and LLGUIDANCE not in features:
        raise UnsupportedParameter(
            "grammar: this build of llama.cpp has no llguidance, which regular expressions and grammars that begin "
            f'with "{BEGINNING}" need.',
            param="grammar",
        )


def with_tool_input_grammar(body: Mapping[str, Any], features: Collection[str]) -> dict[str, Any]:
    """Return ``body`` with the grammar of the input of a custom tool, for a worker with ``features``.

    Its rules are kept, except for the first one, which other rules may name: it begins after the opening.

    Raises:
        InvalidRequest: the worker accepts no such grammar.
    """
    if LLGUIDANCE not in features:
        raise InvalidRequest(
            "tools: this build of llama.cpp has no llguidance, which Lark grammars of custom tools need. Serve the "
            "model with modelhost's own worker (`modelhost engines install llamacpp`), give a grammar whose syntax is "
            '"regex", or leave "format" out and check the input yourself.',
            param="tools",
        )
    rest = {name: value for name, value in body.items() if name != INPUT_GRAMMAR}
    opening, definition = body[INPUT_GRAMMAR]["opening"], body[INPUT_GRAMMAR]["definition"]
    renamed = with_renamed_start(INPUT_RULE, definition)
    rules = f"start: {json.dumps(opening, ensure_ascii=False)} {INPUT_RULE}\n{renamed}"
    return {**rest, "grammar": _grammar(rules)}


def with_schema_grammar(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with a grammar in place of the JSON schema of its answer, if it has one."""
    schema = _schema_of(body)
    if schema is None or body.get("tools") or "grammar" in body:
        return body
    rest = {name: value for name, value in body.items() if name not in ("response_format", "json_schema")}
    return {**rest, "grammar": _grammar(f"start: {json_rule(schema, COMPACT)}")}


def _grammar(rules: str) -> str:
    return f"{BEGINNING} {UNFORCED if _NAMES_TOKENS.search(rules) else '{}'}\n{rules}"


def _schema_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    output = body.get("response_format") or {}
    schema: Any = (output.get("json_schema") or {}).get("schema") or body.get("json_schema")
    return schema or None


DEFINITIONS: Final = ("$defs", "definitions")
OF_SCHEMAS: Final = frozenset({*DEFINITIONS, "properties", "patternProperties", "dependentSchemas"})
"""Keywords that hold schemas by names."""
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def schema_of(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON schema of a call of one of ``tools``."""
    shared: dict[str, Any] = {}
    calls = [_call_of(tool["function"], f"{number}.", shared) for number, tool in enumerate(tools)]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return {**schema, "$defs": shared} if shared else schema


def _call_of(function: dict[str, Any], prefix: str, shared: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a call; ``shared`` gets what it refers to, with ``prefix`` before the names."""
    arguments: dict[str, Any] = _NO_ARGUMENTS
    if parameters := function.get("parameters"):
        arguments = {"type": "object", **_moved(parameters, prefix)}
        for key in DEFINITIONS:
            shared.update({f"{prefix}{name}": each for name, each in arguments.pop(key, {}).items()})
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, prefix: str) -> Any:
    """Return ``schema`` with references to its own definitions changed to the shared ones."""
    if isinstance(schema, list):
        return [_moved(each, prefix) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref":
            made[key] = f"#/$defs/{prefix}{value.rpartition('/')[2]}"
        elif key in OF_SCHEMAS:
            made[key] = {name: _moved(each, prefix) for name, each in value.items()}
        else:
            made[key] = value if key in VALUES else _moved(value, prefix)
    return made
