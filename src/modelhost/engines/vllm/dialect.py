"""Requests, answers and errors in vLLM's dialect; the host's side.

Source: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html. vLLM ignores a field that it does not
know, so :data:`FIELDS` has to list those that it supports. Not among them: ``min_tokens_to_keep``, which vLLM
does not have, ``prompt_logprobs`` and ``return_token_ids``, which have no place in a stream that is passed on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from modelhost import errors
from modelhost.engines.schemas.limits import with_number_bounds
from modelhost.engines.schemas.plain import OF_SCHEMAS, VALUES
from modelhost.errors import ModelhostError
from modelhost.exchange.tasks import TOKEN_STRINGS, Task

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
    """Return ``schema`` without the keywords for which vLLM would refuse it; the host checks the answer against all.

    vLLM refuses what xgrammar (https://github.com/mlc-ai/xgrammar) does not enforce
    (``has_xgrammar_unsupported_json_features`` in its source), and what the library itself fails at.
    """
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


SAMPLING = frozenset(
    {
        *("repetition_penalty", "ignore_eos", "min_tokens", "stop_token_ids", "include_stop_str_in_output"),
        *("skip_special_tokens", "spaces_between_special_tokens", "allowed_token_ids", "bad_words"),
        *("truncate_prompt_tokens", "truncation_side", "structured_outputs", "cache_salt"),
        *("repetition_detection", "add_special_tokens"),
    }
)
CHAT = frozenset(
    {
        *("chat_template_kwargs", "reasoning_effort", "include_reasoning", "thinking_token_budget"),
        *("add_generation_prompt", "continue_final_message", "documents"),
    }
)
FIELDS: Mapping[Task, frozenset[str]] = {
    "chat": SAMPLING | CHAT,
    "completions": SAMPLING | {"response_format", "echo"},
}
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
OF_TEMPLATES = ("tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
"""Fields of ``/tokenize`` with ``messages``."""
LARGEST_SEED = 2**63
REASONING, REASONING_CONTENT = b'"reasoning":', b'"reasoning_content":'
_CHARACTERS = re.compile(r"maximum context length is (\d+) tokens.*contains (\d+) characters")
_TOKENS = re.compile(r"maximum context length is (\d+) tokens.*contains (at least )?(\d+) input tokens")
_VALIDATION = re.compile(r"'msg': '(.*?)', 'input'", re.DOTALL)
_SUFFIX = re.compile(r" \(parameter=.*\)$", re.DOTALL)
CALLERS_FAULTS = (400, 404, 422)
_NO_PARSER = "--tool-call-parser"


def adapt_request(task: Task, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` for vLLM; ``body`` is changed in place, the objects in it are not.

    Raises:
        UnsupportedParameter: markers are to be read as text, which vLLM's tokenizer does not support.
    """
    if task == "tokenize":
        if body.get("parse_special") is False:
            raise errors.UnsupportedParameter(
                "parse_special: vLLM reads markers of the model wherever they stand; leave it out.",
                param="parse_special",
            )
        return _tokenized(body)
    if "seed" in body:
        body["seed"] = body["seed"] % LARGEST_SEED
    if body.get("top_p") == 0:
        # vLLM's lowest is above 0; both leave the likeliest token.
        del body["top_p"]
        body["top_k"] = 1
    if (output := body.get("response_format")) and "json_schema" in output:
        body["response_format"] = _with_enforceable(output)
    if task == "chat":
        body["messages"] = [_message(message) for message in body["messages"]]
        if body.get("tool_choice") == "required":
            body["tools"] = [_strict(tool) for tool in body["tools"]]
    return body


def _with_enforceable(output: dict[str, Any]) -> dict[str, Any]:
    named = output["json_schema"]
    return {**output, "json_schema": {**named, "schema": enforceable(named.get("schema", {}))}}


def _tokenized(body: dict[str, Any]) -> dict[str, Any]:
    shared = {"model": body["model"], **({TOKEN_STRINGS: True} if body.get(TOKEN_STRINGS) else {})}
    if "messages" not in body:
        return {**shared, "prompt": body["content"], "add_special_tokens": bool(body.get("add_special"))}
    given = {name: body[name] for name in OF_TEMPLATES if name in body}
    continues = bool(given.get("continue_final_message"))
    messages = [_message(message) for message in body["messages"]]
    return {**shared, "add_generation_prompt": not continues, **given, "messages": messages}


def convert_answer(task: Task, data: bytes) -> bytes:
    """Return ``data``, whole events or the whole of an answer, with the host's names of fields."""
    if task == "tokenize":
        found = orjson.loads(data)
        return orjson.dumps({name: found[name] for name in ("tokens", "token_strs") if found.get(name) is not None})
    if task == "detokenize":
        return orjson.dumps({"content": orjson.loads(data)["prompt"]})
    # With its quotes it cannot stand in a text, where JSON escapes them.
    return data.replace(REASONING, REASONING_CONTENT) if task == "chat" else data


def _message(message: dict[str, Any]) -> dict[str, Any]:
    reasoning = message.get("reasoning_content")
    if reasoning is not None:
        message = {**message, "reasoning": reasoning}
    if isinstance(message.get("content"), list):
        message = {**message, "content": [_part(part) for part in message["content"]]}
    return message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": part["refusal"]} if part["type"] == "refusal" else part


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    """Return ``tool`` so that vLLM enforces its arguments and not only the call itself."""
    function = tool["function"]
    parameters = with_number_bounds(enforceable(function.get("parameters") or NO_PARAMETERS))
    return {**tool, "function": {**function, "parameters": parameters, "strict": True}}


def error_from(status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
    """Return vLLM's error answer as a :class:`ModelhostError`."""
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict):
        error = {"message": f"the engine answered {status} without saying why"}
    message, param = str(error.get("message", "")), error.get("param")
    if found := _TOKENS.search(message):
        counted = f"{found[2] or ''}{found[3]}"
        return errors.ContextLengthExceeded.of(model, tokens=int(found[3]), limit=int(found[1]), counted=counted)
    if found := _CHARACTERS.search(message):
        # More characters than the context could hold, were each of its tokens the longest one: it has not counted on.
        least = int(found[1]) + 1
        return errors.ContextLengthExceeded.of(model, tokens=least, limit=int(found[1]), counted=f"at least {least}")
    if _NO_PARSER in message:
        return errors.UnsupportedParameter(
            f"tools: how {model} writes calls is not known; name its parser: --engine-option tool_call_parser=NAME.",
            param="tools",
        )
    if "is not a multimodal model" in message:
        return errors.UnsupportedOperation(f"{model}: it takes text only.", model=model)
    if status in CALLERS_FAULTS:
        name = str(param).removeprefix("body.") if param else None
        reason = _VALIDATION.search(message)
        text = reason[1] if reason else _SUFFIX.sub("", message)
        return errors.InvalidRequest(f"{name}: {text}" if name and name not in text else text, param=name)
    return errors.EngineError(f"The engine of {model} failed: {message}", model=model, worker=worker, status=status)
