"""The JSON schemas of a request in the words that engines and chat templates take: of its tools, and of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from modelhost.engines.plain_schemas import PlainSchema, plain, plain_parameters
from modelhost.engines.schema_references import UnusableSchema
from modelhost.errors import InvalidRequest
from modelhost.logs import get_logger

log = get_logger(__name__)

REMEMBERED: Final = 512
"""Schemas: a client sends the same tools with every request, and rewriting fifty of them would take milliseconds."""

Schema = Mapping[str, Any]


def with_plain_schemas(body: dict[str, Any]) -> dict[str, Any]:
    """Return the request ``body``, whose shape is checked already, with schemas that every engine takes.

    Raises:
        InvalidRequest: one of them is no schema; ``param`` says where.
    """
    found = dict(body)
    if tools := body.get("tools"):
        found["tools"] = [_plain_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    shape = body.get("response_format")
    if shape and shape["type"] == "json_schema":
        asked = shape["json_schema"]
        schema = _rewritten(asked["schema"], plain, "response_format.json_schema.schema", "the schema")
        found["response_format"] = {**shape, "json_schema": {**asked, "schema": schema}}
    if isinstance(body.get("json_schema"), dict):
        found["json_schema"] = _rewritten(body["json_schema"], plain, "json_schema", "the schema")
    return found


def _plain_tool(tool: dict[str, Any], at: str) -> dict[str, Any]:
    function = tool["function"]
    if not function.get("parameters"):
        return tool
    param, whose = f"{at}.function.parameters", f'the schema of the tool "{function["name"]}"'
    parameters = _rewritten(function["parameters"], plain_parameters, param, whose)
    return {**tool, "function": {**function, "parameters": parameters}}


def _rewritten(schema: Schema, rewrite: Callable[[Schema], PlainSchema], param: str, whose: str) -> Schema:
    try:
        made = _remembered(schema, rewrite)
    except UnusableSchema as error:
        where = "".join(f".{part}" for part in error.location.split("/")[1:])
        raise InvalidRequest(
            f"{param}: {whose} cannot be used. {error.location}: {error.reason}.", param=f"{param}{where}"
        ) from None
    for place, reference in made.not_fetched.items():
        log.info("schema_not_fetched", param=param, location=place, reference=reference)
    return made.schema


def _remembered(schema: Schema, rewrite: Callable[[Schema], PlainSchema]) -> PlainSchema:
    try:
        text = orjson.dumps(schema)
    except TypeError:  # numbers of more than 64 bits, from a program in this process
        return rewrite(schema)
    return _made_of(text, rewrite)


@lru_cache(maxsize=REMEMBERED)
def _made_of(text: bytes, rewrite: Callable[[Schema], PlainSchema]) -> PlainSchema:
    return rewrite(orjson.loads(text))
