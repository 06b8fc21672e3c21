"""What the answer to a request has to be, and whether it is that: no engine enforces all that a JSON schema can say.

Each engine constrains what it can. What it wrote is held against the schema as the client gave it:

* An answer that comes at once is asked for again, up to ``RETRIES`` times, if it ended by itself and another one may
  come: not with a seed, nor at temperature 0. The usage is that of all attempts.
* One that still does not fit, or that was streamed, ends with the finish detail ``schema_violated``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from modelhost import json_text
from modelhost.chat import usage
from modelhost.chat.constraints import STRUCTURED
from modelhost.exchange.events import Event, Finish, FinishDetails, Piece, PieceStream, Text, Usage
from modelhost.exchange.nothing import NOTHING
from modelhost.exchange.requests import ChatRequest, CompletionRequest
from modelhost.logs import get_logger

if TYPE_CHECKING:  # jsonschema behind it takes a fifth of a second, and few requests have a schema
    from modelhost.tools.arguments import ArgumentCheck

log = get_logger(__name__)

RETRIES: Final = 2
VIOLATED: Final = "schema_violated"
ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}
REMEMBERED: Final = 128
"""Compiled schemas."""

OpenAttempt = Callable[[], AbstractAsyncContextManager[PieceStream]]


class Shape:
    """What one answer has to be."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._check = _check_of(json.dumps(schema))

    def problem_of(self, text: str) -> str | None:
        """Return what is wrong with ``text``, ``None`` if nothing is."""
        try:
            value = json_text.decoded(text)
        except ValueError as error:
            return f"it is not JSON: {error}"
        problems = self._check.problems(value)
        return "; ".join(problems) if problems else None


def shape_of(request: ChatRequest | CompletionRequest) -> Shape | None:
    """Return what the answer to ``request`` has to be, as its client gave it; ``None`` if it may be anything."""
    output = request.output if isinstance(request, ChatRequest) else None
    asked = request.extra.get("json_schema") or request.extra.get(STRUCTURED, NOTHING).get("json")
    if output is not None and output.kind == "json_schema" and output.schema is not None:
        return Shape(output.schema)
    if isinstance(asked, Mapping):
        return Shape(asked)
    return Shape(ANY_OBJECT) if output is not None and output.kind == "json_object" else None


@lru_cache(maxsize=REMEMBERED)
def _check_of(schema: str) -> ArgumentCheck:
    from modelhost.tools.arguments import ArgumentCheck  # noqa: PLC0415 (as said above)

    return ArgumentCheck(json.loads(schema), checks_formats=True)


async def checked(pieces: PieceStream, shape: Shape) -> PieceStream:
    """Yield ``pieces``; the end of an answer that is not of ``shape`` says so."""
    texts: dict[int, str] = {}
    async with aclosing(pieces):
        async for piece in pieces:
            for event in piece:
                if isinstance(event, Text):
                    texts[event.choice] = texts.get(event.choice, "") + event.text
            yield tuple(_judged(event, texts, shape) for event in piece)


def _judged(event: Event, texts: Mapping[int, str], shape: Shape) -> Event:
    if not isinstance(event, Finish) or event.reason != "stop" or event.details is not None:
        return event
    problem = shape.problem_of(texts.get(event.choice, ""))
    return event if problem is None else replace(event, details=FinishDetails(kind=VIOLATED, message=problem))


async def attempted(attempt: OpenAttempt, shape: Shape, *, model: str) -> PieceStream:
    """Yield the first answer of ``attempt`` that is of ``shape``, else the last one of those that may be made."""
    spent: Mapping[str, Any] | None = None
    for number in range(RETRIES + 1):
        async with attempt() as opened:
            pieces = [piece async for piece in checked(opened, shape)]
        spent = _spent(spent, pieces)
        if number == RETRIES or not any(_is_violation(event) for piece in pieces for event in piece):
            break
        log.info(VIOLATED, model=model, attempt=number + 1)
    for piece in pieces:
        yield tuple(replace(event, usage=spent) if isinstance(event, Usage) else event for event in piece)


def _is_violation(event: Event) -> bool:
    return isinstance(event, Finish) and event.details is not None and event.details.kind == VIOLATED


def _spent(before: Mapping[str, Any] | None, pieces: list[Piece]) -> Mapping[str, Any] | None:
    told = next((event.usage for piece in pieces for event in piece if isinstance(event, Usage)), None)
    return usage.added(before, told) if told else before
