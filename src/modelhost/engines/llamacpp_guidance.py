"""Answers of llama.cpp that have to be JSON of a schema, by llguidance, where a worker was built with it.

llama.cpp's own converter of schemas leaves out what it does not know: patterns with ``\\d`` or without anchors, bounds
of fractions, ``format``. llguidance (https://github.com/guidance-ai/llguidance) obeys most of it. A grammar binds the
answer from its first token on, so that a model whose template makes it think first keeps llama.cpp's own way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from modelhost.engines.base import INPUT_GRAMMAR, ModelSpec
from modelhost.engines.library_worker.answer_rules import choice_rule, only_of, regex_rule
from modelhost.engines.library_worker.json_rules import COMPACT, is_known, json_rule
from modelhost.engines.llamacpp_features import LLGUIDANCE
from modelhost.engines.llamacpp_probe import BEGINNING, with_start_as
from modelhost.errors import InvalidRequest, UnsupportedParameter

THINKING: Final = ("<think", "[THINK]", "<|channel|>", "reasoning_content")
"""What the templates of models that think first have in them."""
INPUT_RULE: Final = "input_of_tool"
UNFORCED: Final = '{"no_forcing": true}'
"""Has llguidance take text that has to come as it is. By itself it has the model's tokenizer read such text ahead, and
that takes the name of a special token, such as ``<|im_end|>``, for the token; no text then follows the grammar."""
_NAMES_TOKENS: Final = re.compile(r"<|\[/?[A-Z_]{3,}\\?\]")
"""What may be the name of one."""


def thinks(spec: ModelSpec) -> bool:
    """Return whether the template of a model may make it think before it answers."""
    template = spec.chat_template or spec.own_chat_template or ""
    return any(mark in template for mark in THINKING)


def constraint_of(structured: Mapping[str, Any]) -> dict[str, Any]:
    """Return vLLM's ``structured_outputs`` as llama.cpp takes it.

    Raises:
        UnsupportedParameter: a regular expression that llguidance fails at: in llama.cpp it then binds nothing at all.
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


def check_guidance(body: Mapping[str, Any], features: Collection[str]) -> None:
    """Check that a worker with ``features`` takes the grammar of ``body``: one that does not would end itself.

    Raises:
        UnsupportedParameter: it does not.
    """
    grammar = body.get("grammar")
    if isinstance(grammar, str) and grammar.startswith(BEGINNING) and LLGUIDANCE not in features:
        raise UnsupportedParameter(
            "grammar: this build of llama.cpp has no llguidance, which regular expressions and grammars that begin "
            f'with "{BEGINNING}" need.',
            param="grammar",
        )


def with_input_grammar(body: Mapping[str, Any], features: Collection[str]) -> dict[str, Any]:
    """Return ``body`` with the grammar of the input of a custom tool as a worker with ``features`` takes it.

    Its rules stay as they are, but for the first one, which other rules may name: it begins behind the opening.

    Raises:
        InvalidRequest: the worker takes no such grammar.
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
    renamed = with_start_as(INPUT_RULE, definition)
    rules = f"start: {json.dumps(opening, ensure_ascii=False)} {INPUT_RULE}\n{renamed}"
    return {**rest, "grammar": _grammar(rules)}


def guided(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` with a grammar in the place of the JSON schema that its answer has to follow, if it has one."""
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
