"""The JSON schemas of a request in the words that engines and chat templates take: of its tools, and of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import orjson
from msgspec.structs import replace

from modelhost.chat.structured_output import STRUCTURED
from modelhost.engines.schemas.plain import PlainSchema, check_patterns, plain, plain_parameters
from modelhost.engines.schemas.references import UnusableSchema
from modelhost.errors import InvalidRequest
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, GenerationRequest, Tool
from modelhost.logs import get_logger

log = get_logger(__name__)

REMEMBERED: Final = 512
"""Schemas: a client sends the same tools with every request, and rewriting fifty of them would take milliseconds."""

Schema = Mapping[str, Any]
G = TypeVar("G", bound=GenerationRequest)


def with_plain_schemas(request: G) -> G:
    """Return ``request`` with schemas that every engine takes.

    Raises:
        InvalidRequest: one of them is no schema; ``param`` says where.
    """
    changed: dict[str, Any] = {}
    if isinstance(request, ChatRequest):
        if request.tools:
            changed["tools"] = tuple(_plain_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools))
        if request.output is not None and request.output.schema is not None:
            where = request.constraint_field or "response_format.json_schema.schema"
            schema = _rewritten(request.output.schema, _checkable, where, "the schema")
            changed["output"] = replace(request.output, schema=schema)
    if isinstance(asked := request.extra.get("json_schema"), dict):
        schema = _rewritten(asked, _checkable, "json_schema", "the schema")
        changed["extra"] = {**request.extra, "json_schema": schema}
    if isinstance(asked := request.extra.get(STRUCTURED, NOTHING).get("json"), Mapping):
        schema = _rewritten(asked, _checkable, request.constraint_field, "the schema")
        changed["extra"] = {**request.extra, STRUCTURED: {"json": schema}}
    return replace(request, **changed) if changed else request


def _checkable(schema: Schema) -> PlainSchema:
    """As :func:`plain`, of a schema that an answer can be held against.

    Raises:
        UnusableSchema: as said, or nobody can: it refers to another document, or a keyword is not what it has to be.
    """
    from modelhost.tools.arguments import fault_in  # noqa: PLC0415 (slow to import, and few requests have a schema)

    made = plain(schema)
    if (fault := fault_in(schema)) is not None:
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
