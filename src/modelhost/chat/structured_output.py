"""Structured output: the schema that an answer has to follow, and whether it does.

vLLM names it ``structured_outputs``, and earlier ``guided_json`` and the like; OpenAI ``response_format``.
Source: https://docs.vllm.ai/en/latest/features/structured_outputs.html

No engine enforces all that a JSON schema can say; each constrains what it can. What it wrote is validated against the
schema as the client gave it:

* A complete (not streamed) answer that violates it is generated again, up to ``RETRIES`` times, if it ended by itself
  and another attempt may differ: not with a seed, nor at temperature 0. Its usage is that of all attempts.
* An answer that still violates it, or was streamed, ends with the finish detail ``schema_violated``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from modelhost import json_text, lazy
from modelhost.chat import usage
from modelhost.errors import InvalidRequest, RequestError
from modelhost.exchange.events import Event, Finish, FinishDetails, Piece, PieceStream, Text, Usage
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, CompletionRequest, OutputFormat
from modelhost.logs import get_logger

if TYPE_CHECKING:
    from modelhost.tools.arguments import ArgumentCheck

STRUCTURED: Final = "structured_outputs"
GUIDED: Final = "guided_"
KINDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "json": (lambda value: isinstance(value, dict), "a JSON schema"),
    "json_object": (lambda value: value is True, "true"),
    "regex": (lambda value: isinstance(value, str) and bool(value), "a regular expression"),
    "choice": (
        lambda value: isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value),
        "a list of texts",
    ),
    "grammar": (lambda value: isinstance(value, str) and bool(value), "a grammar"),
}
ENGINE_FIELDS: Final = frozenset({STRUCTURED, "grammar", "response_format"})
"""The fields in which an engine's error may report a bad constraint."""
LLAMACPP_FIELDS: Final = ("grammar", "json_schema")
FIELDS: Final = frozenset({STRUCTURED, *(f"{GUIDED}{kind}" for kind in KINDS)})


def constraint_in(extra: dict[str, Any]) -> tuple[str, Any, str] | None:
    """Remove the constraint on the answer from ``extra``, the fields of a request beyond OpenAI's.

    Returns:
        Its kind, its value, and the field that held it.

    Raises:
        InvalidRequest: there are several, or one has the wrong type.
    """
    if FIELDS.isdisjoint(extra):
        return None
    named = {name: (name, kind, extra.pop(name)) for kind in KINDS if (name := f"{GUIDED}{kind}") in extra}
    given = list(named.values())
    structured = extra.pop(STRUCTURED, {})
    if not isinstance(structured, Mapping):
        raise InvalidRequest(f"{STRUCTURED}: it has to be an object.", param=STRUCTURED)
    given += [(f"{STRUCTURED}.{kind}", kind, value) for kind, value in structured.items() if value is not None]
    for name, kind, _ in given:
        if kind not in KINDS:
            raise InvalidRequest(f"{name}: there are {', '.join(KINDS)}.", param=name)
    if len(given) != 1:
        names = " and ".join(name for name, _, _ in given) or STRUCTURED
        raise InvalidRequest(
            f"{names}: give exactly one of {', '.join(KINDS)}.", param=given[-1][0] if given else STRUCTURED
        )
    name, kind, value = given[0]
    if kind == "json" and isinstance(value, str):
        try:
            value = json_text.decode(value)
        except ValueError as error:
            raise InvalidRequest(f"{name}: it is not JSON: {error}.", param=name) from None
    is_right, words = KINDS[kind]
    if not is_right(value):
        raise InvalidRequest(f"{name}: it has to be {words}.", param=name)
    return kind, value, name


def check_only_one(output: Any, extra: Mapping[str, Any], field: str) -> None:
    """Check that only one field constrains the answer.

    Args:
        output: ``response_format``.
        extra: the fields of the request beyond OpenAI's.
        field: what the client called the field that is ``structured_outputs`` in ``extra``.

    Raises:
        InvalidRequest: several do.
    """
    given = [name for name in LLAMACPP_FIELDS if extra.get(name)]
    if STRUCTURED in extra:
        given.append(field)
    if isinstance(output, Mapping) and output.get("type") not in (None, "text"):
        given.append("response_format")
    if len(given) > 1:
        raise InvalidRequest(
            f"{given[0]}: {given[1]} says already what the answer has to be; give one.", param=given[0]
        )


def wants_json(extra: Mapping[str, Any]) -> bool:
    """Whether ``extra``, the fields of a request beyond OpenAI's, requires JSON."""
    structured = extra.get(STRUCTURED) or {}
    return "json_schema" in extra or not {"json", "json_object"}.isdisjoint(structured)


def output_of(kind: str, value: Any) -> OutputFormat | None:
    """Return the constraint as ``response_format``, if OpenAI's API has that kind."""
    if kind == "json":
        return OutputFormat(kind="json_schema", schema=value, extra={"name": "answer", "strict": True})
    return OutputFormat(kind="json_object") if kind == "json_object" else None


def name_as_sent(error: RequestError, field: str) -> None:
    """Have ``error``, if it is about a constraint, name the ``field`` that the client sent."""
    if field and error.param is not None and error.param.partition(".")[0] in ENGINE_FIELDS:
        error.message = error.message.replace(error.param, field, 1)
        error.param = field


log = get_logger(__name__)

RETRIES: Final = 2
VIOLATED: Final = "schema_violated"
ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}
COMPILED_SCHEMAS: Final = 128

OpenAttempt = Callable[[], AbstractAsyncContextManager[PieceStream]]


class OutputSchema:
    """The JSON schema that an answer has to follow, compiled."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._check = _check_of(json.dumps(schema))

    def problem_of(self, text: str) -> str | None:
        """Return what is wrong with ``text``, or ``None``."""
        try:
            value = json_text.decode(text)
        except ValueError as error:
            return f"it is not JSON: {error}"
        problems = self._check.problems(value)
        return "; ".join(problems) if problems else None


def output_schema_of(request: ChatRequest | CompletionRequest) -> OutputSchema | None:
    """Return the schema for the answer to ``request``, as the client gave it, or ``None``."""
    output = request.output if isinstance(request, ChatRequest) else None
    given = request.extra.get("json_schema") or request.extra.get(STRUCTURED, NOTHING).get("json")
    if output is not None and output.kind == "json_schema" and output.schema is not None:
        return OutputSchema(output.schema)
    if isinstance(given, Mapping):
        return OutputSchema(given)
    return OutputSchema(ANY_OBJECT) if output is not None and output.kind == "json_object" else None


@lru_cache(maxsize=COMPILED_SCHEMAS)
def _check_of(schema: str) -> ArgumentCheck:
    return lazy.tool_arguments.ArgumentCheck(json.loads(schema), checks_formats=True)


async def checked(pieces: PieceStream, schema: OutputSchema) -> PieceStream:
    """Yield ``pieces``; the end of an answer that violates ``schema`` says so."""
    texts: dict[int, str] = {}
    async with aclosing(pieces):
        async for piece in pieces:
            for event in piece:
                if isinstance(event, Text):
                    texts[event.choice] = texts.get(event.choice, "") + event.text
            yield tuple(_judged(event, texts, schema) for event in piece)


def _judged(event: Event, texts: Mapping[int, str], schema: OutputSchema) -> Event:
    if not isinstance(event, Finish) or event.reason != "stop" or event.details is not None:
        return event
    problem = schema.problem_of(texts.get(event.choice, ""))
    return event if problem is None else replace(event, details=FinishDetails(kind=VIOLATED, message=problem))


async def retried(attempt: OpenAttempt, schema: OutputSchema, *, model: str) -> PieceStream:
    """Yield the first answer of ``attempt`` that follows ``schema``, or else the last one."""
    spent: Mapping[str, Any] | None = None
    for number in range(RETRIES + 1):
        async with attempt() as opened:
            pieces = [piece async for piece in checked(opened, schema)]
        spent = _spent(spent, pieces)
        if number == RETRIES or not any(_is_violation(event) for piece in pieces for event in piece):
            break
        log.info(VIOLATED, model=model, attempt=number + 1)
    for piece in pieces:
        yield tuple(replace(event, usage=spent) if isinstance(event, Usage) else event for event in piece)


def _is_violation(event: Event) -> bool:
    return isinstance(event, Finish) and event.details is not None and event.details.kind == VIOLATED


def _spent(before: Mapping[str, Any] | None, pieces: list[Piece]) -> Mapping[str, Any] | None:
    used = next((event.usage for piece in pieces for event in piece if isinstance(event, Usage)), None)
    return usage.add_usage(before, used) if used else before
