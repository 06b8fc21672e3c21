"""Checking a request's body against its model, and its fields against what the engine knows.

Errors name the field as the client wrote it, and what to send in its place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final

from pydantic import ValidationError

from modelhost.chat.parsing.bodies import MODELS
from modelhost.chat.parsing.fields import MAX_BATCH
from modelhost.chat.parsing.problems import invalid_request
from modelhost.chat.structured_output import STRUCTURED
from modelhost.engines import ENGINES, TRAITS
from modelhost.engines.base import Engine
from modelhost.engines.installed import serves
from modelhost.engines.schemas.limits import check_size
from modelhost.engines.schemas.references import UnusableSchema
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.requests import AnyRequest
from modelhost.exchange.tasks import Task

LIST_FIELDS: Final[Mapping[Task, str]] = {"completions": "prompt", "embeddings": "input", "rerank": "documents"}
"""The field that holds a request's list of texts."""


def check_batch_size(task: Task, body: Mapping[str, Any]) -> None:
    """Check that ``body``, whose types are checked, holds at most ``MAX_BATCH`` texts; raises InvalidRequest."""
    name = LIST_FIELDS.get(task)
    given = None if name is None else body[name]
    if not isinstance(given, list) or isinstance(given[0], int):  # one text, or its tokens
        return
    times = (body.get("n") or 1) if task == "completions" else 1
    if len(given) * times > MAX_BATCH:
        product = f", each with an n of {times}, make {len(given) * times}" if times > 1 else ""
        raise InvalidRequest(
            f"{name}: {len(given)} entries{product}; a request may ask for {MAX_BATCH} at most. Split it into several "
            "requests.",
            param=name,
        )


REPLACEMENTS: Final[Mapping[str, str]] = {
    "functions": "tools",
    "function_call": "tool_choice",
    "max_new_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "think": "chat_template_kwargs",
    "thinking": "chat_template_kwargs",
    "enable_thinking": "chat_template_kwargs",
    "system": "messages",
}
"""Fields that are refused, each with the field to send instead."""


def validate(task: Task, body: Any) -> None:
    """Check the types and ranges of ``body``.

    Raises:
        InvalidRequest: ``param`` names the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("The body has to be a JSON object.")
    try:
        MODELS[task].model_validate(body)
    except ValidationError as error:
        raise invalid_request(error, body) from None
    check_batch_size(task, body)
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise InvalidRequest('top_logprobs: it needs "logprobs": true.', param="top_logprobs")
    if task == "completions" and body.get("best_of") not in (None, body.get("n") or 1):
        raise InvalidRequest("best_of: all choices are returned, so that it has to be the same as n.", param="best_of")
    if task == "completions" and body.get("max_tokens") == 0 and not body.get("echo"):
        raise InvalidRequest('max_tokens: at 0 nothing is written; that needs "echo": true.', param="max_tokens")
    if task == "completions" and body.get("echo") and body.get("suffix"):
        raise InvalidRequest("echo: it cannot be given together with suffix.", param="echo")
    shape = body.get("response_format") if task == "chat" else None
    if shape and shape["type"] == "json_schema" and not shape.get("json_schema"):
        raise InvalidRequest("response_format.json_schema: the schema is missing.", param="response_format.json_schema")
    if shape and shape["type"] != "json_object" and shape.get("schema"):
        raise InvalidRequest(
            'response_format.schema: it belongs to "json_object"; that of "json_schema" stands in json_schema.schema.',
            param="response_format.schema",
        )
    for param, schema in _schemas(task, body):
        check_schema_size(schema, param)


def check_schema_size(schema: Mapping[str, Any], param: str) -> None:
    """Check that ``schema`` does not expand beyond what engines can hold; raises InvalidRequest."""
    try:
        check_size(schema)
    except UnusableSchema as error:
        raise InvalidRequest(
            f"{param}: the schema cannot be used: {error.reason}. Make it simpler, or split it into several requests.",
            param=param,
        ) from None


def check_tool_names(named: Sequence[tuple[str, str]]) -> None:
    """Check that no two tools share a name; raises InvalidRequest. ``named``: the path and the name of each."""
    known: set[str] = set()
    for param, name in named:
        if name in known:
            raise InvalidRequest(f'{param}: another tool is called "{name}", too.', param=param)
        known.add(name)


def _schemas(task: Task, body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the JSON schemas of a checked request, each with its path."""
    if task == "chat" and (shape := body.get("response_format")):
        if shape.get("json_schema"):
            yield "response_format.json_schema.schema", shape["json_schema"]["schema"]
        if shape.get("schema"):
            yield "response_format.schema", shape["schema"]
    if isinstance(body.get("json_schema"), dict):
        yield "json_schema", body["json_schema"]
    tools = body.get("tools")
    for place, tool in enumerate(tools if tools and "tools" in MODELS[task].model_fields else ()):
        if tool["type"] == "function" and tool["function"].get("parameters"):
            yield f"tools[{place}].function.parameters", tool["function"]["parameters"]


def check_fields(task: Task, request: AnyRequest, engine: Engine) -> None:
    """Check that ``engine`` supports each field of ``request`` that OpenAI's API does not define.

    Raises:
        UnsupportedParameter: with the name of the field and the closest known one.
    """
    if not request.extra:
        return
    of_engine = engine.fields(task)
    for name in request.extra:
        if name not in of_engine:
            sent = _as_sent(name, request)
            hint = _hint(task, name, sent, MODELS[task].model_fields.keys() | of_engine)
            raise UnsupportedParameter(
                f'The field "{sent}" is not supported by {engine.name} for {task}.{hint}', param=sent
            )


def _hint(task: Task, name: str, sent: str, known: Set[str]) -> str:
    """Return what to do instead of sending the field ``name``, which the client wrote as ``sent``."""
    if sent in REPLACEMENTS:
        return f' Use "{REPLACEMENTS[sent]}".'
    supporting = [each for each in TRAITS if serves(each, "files") and name in ENGINES[each].fields(task)]
    if supporting:
        return f" Engines that have it: {', '.join(supporting)}."
    close = difflib.get_close_matches(sent, known, n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def _as_sent(name: str, request: AnyRequest) -> str:
    """Return the field ``name`` as the client wrote it."""
    return request.constraint_field.partition(".")[0] if name == STRUCTURED else name
