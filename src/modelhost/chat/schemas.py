"""The JSON schemas of a request, for its tools and its answer, rewritten so that all engines take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import orjson
from msgspec.structs import replace

from modelhost import lazy
from modelhost.chat.structured_output import STRUCTURED
from modelhost.engines.schemas.plain import PlainSchema, check_patterns, plain, plain_parameters
from modelhost.engines.schemas.references import UnusableSchema
from modelhost.errors import InvalidRequest
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, GenerationRequest, Tool
from modelhost.logs import get_logger

log = get_logger(__name__)

CACHED_SCHEMAS: Final = 512
"""A client sends the same tools with every request, and rewriting fifty of them takes milliseconds."""

Schema = Mapping[str, Any]
G = TypeVar("G", bound=GenerationRequest)


def with_plain_schemas(request: G) -> G:
    """Return ``request`` with schemas that every engine takes.

    Raises:
        InvalidRequest: one of them is not a valid schema; ``param`` is its path.
    """
    changed: dict[str, Any] = {}
    if isinstance(request, ChatRequest):
        if request.tools:
            changed["tools"] = tuple(_plain_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools))
        if request.output is not None and request.output.schema is not None:
            where = request.constraint_field or "response_format.json_schema.schema"
            schema = _rewritten(request.output.schema, _checkable, where, "the schema")
            changed["output"] = replace(request.output, schema=schema)
    if isinstance(given := request.extra.get("json_schema"), dict):
        schema = _rewritten(given, _checkable, "json_schema", "the schema")
        changed["extra"] = {**request.extra, "json_schema": schema}
    if isinstance(given := request.extra.get(STRUCTURED, NOTHING).get("json"), Mapping):
        schema = _rewritten(given, _checkable, request.constraint_field, "the schema")
        changed["extra"] = {**request.extra, STRUCTURED: {"json": schema}}
    return replace(request, **changed) if changed else request


def _checkable(schema: Schema) -> PlainSchema:
    """Like :func:`plain`, for a schema against which an answer is validated.

    Raises:
        UnusableSchema: as there; or it refers to another document, or a keyword has a wrong value.
    """
    made = plain(schema)
    if (fault := lazy.tool_arguments.fault_in(schema)) is not None:
        raise UnusableSchema(*fault)
    for place, reference in made.not_fetched.items():
        raise UnusableSchema(place, f'"{reference}" is another document, and none is fetched')
    check_patterns(schema)
    return made


def _plain_tool(tool: Tool, at: str) -> Tool:
    if not tool.parameters:
        return tool
    param, whose = f"{at}.function.parameters", f'the schema of the tool "{tool.name}"'
    return replace(tool, parameters=_rewritten(tool.parameters, plain_parameters, param, whose), written=None)


def _rewritten(schema: Schema, rewrite: Callable[[Schema], PlainSchema], param: str, whose: str) -> Schema:
    try:
        made = _cached(schema, rewrite)
    except UnusableSchema as error:
        where = "".join(f".{part}" for part in error.location.split("/")[1:])
        raise InvalidRequest(
            f"{param}: {whose} cannot be used. {error.location}: {error.reason}.", param=f"{param}{where}"
        ) from None
    for place, reference in made.not_fetched.items():
        log.info("schema_not_fetched", param=param, location=place, reference=reference)
    return made.schema


def _cached(schema: Schema, rewrite: Callable[[Schema], PlainSchema]) -> PlainSchema:
    try:
        text = orjson.dumps(schema)
    except TypeError:  # integers of more than 64 bits, which only a program in this process can pass
        return rewrite(schema)
    return _made_of(text, rewrite)


@lru_cache(maxsize=CACHED_SCHEMAS)
def _made_of(text: bytes, rewrite: Callable[[Schema], PlainSchema]) -> PlainSchema:
    return rewrite(orjson.loads(text))
