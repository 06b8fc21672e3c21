"""Administrative operations: declared once, and rendered for HTTP, the command line and MCP."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from modelhost.errors import InvalidRequest, ModelhostError, UnsupportedParameter

_IN_BRACES: Final = re.compile(r"\{(\w+)\}")
LONGEST_AUDITED: Final = 1000
"""Limit in characters of JSON for a parameter in the audit log."""


def split_list(value: Any) -> Any:
    """Return the elements of a list that is given as text, as in a query: commas separate them."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class TextList(BeforeValidator):
    """The mark of a list that may be given as text, too; a query may repeat its name instead."""

    func: Callable[[Any], Any] = split_list


class Parameters(BaseModel):
    """The parameters of an operation. Strict: ``"0.5"`` is not a number, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    @classmethod
    def has_list(cls, name: str) -> bool:
        """Return whether the parameter ``name`` is a list that text can hold, too (:func:`split_list`)."""
        field = cls.model_fields.get(name)
        return field is not None and any(isinstance(each, TextList) for each in field.metadata)


class NoParameters(Parameters):
    """Nothing."""


class Result(BaseModel):
    """The result of an operation. Clients of an older version ignore unknown fields."""

    model_config = ConfigDict(frozen=True, defer_build=True)  # the command line imports all, and uses one


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    fraction: float | None
    """0 to 1, where it is known."""
    message: str


OnProgress = Callable[[Progress], None]
"""Called with each step, possibly from another thread."""


def ignore_progress(_progress: Progress) -> None:
    """Ignore progress, where it cannot be shown."""


P = TypeVar("P", bound=Parameters)
R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """The HTTP route of an operation.

    ``{name}`` in the path is a parameter that may contain slashes; the others are in the body of a POST, or as text in
    the query of a GET or DELETE.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str

    @property
    def path_names(self) -> tuple[str, ...]:
        return tuple(_IN_BRACES.findall(self.path))

    def path_with(self, fill: Callable[[str], str]) -> str:
        """The path with each parameter replaced by ``fill`` of its name."""
        return _IN_BRACES.sub(lambda named: fill(named[1]), self.path)


Area = Literal["llm", "models", "tools", "sessions", "state", "monitor"]
"""The subject of an operation, and the name of its group of commands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[P, R]):
    name: str
    """Its name as a tool, in metrics and in logs."""
    summary: str
    parameters: type[P] = field(init=False)
    result: type[R] = field(init=False)
    """Like ``parameters``, what ``work`` is annotated with."""
    work: Callable[[Any, P, OnProgress], Awaitable[R]]
    """Runs it on a :class:`modelhost.host.Host`, or on an object with the parts of one that it needs."""
    route: HttpRoute | None
    """``None``: it is served in another format."""
    command: str | None = None
    """The command in the group of its ``area``."""
    only_reads: bool = False
    """Whether it changes nothing, although its route is not a GET."""
    area: Area = "models"
    errors: tuple[type[ModelhostError], ...] = ()
    """The errors that it raises, besides those of any request."""
    reports_progress: bool = False
    """Whether it may take minutes and reports progress."""
    audited: tuple[str, ...] = ()
    """The parameters that the audit log records: never secrets, and never contents of conversations."""
    example: Mapping[str, Any] = field(default_factory=dict)
    """Parameters as JSON."""
    answer: Mapping[str, Any] | Callable[[], Result]
    """The result for them, as JSON or as what makes it."""

    def __post_init__(self) -> None:
        work: Any = self.work
        _, parameters, _, result = work.__annotations__.values()
        object.__setattr__(self, "parameters", work.__globals__[parameters])
        object.__setattr__(self, "result", work.__globals__[result])

    @property
    def is_read_only(self) -> bool:
        return self.only_reads or (self.route is not None and self.route.method == "GET")

    @property
    def example_answer(self) -> dict[str, Any]:
        """The result for the example, as JSON."""
        return self.answer().model_dump(mode="json") if callable(self.answer) else dict(self.answer)

    async def run(self, host: Any, parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        """Run it; raises one of ``errors``, or an error of any request."""
        return await self.work(host, parameters, on_progress)

    def parse(self, values: Mapping[str, Any]) -> P:
        """Return ``values``, decoded JSON, as parameters.

        Raises:
            UnsupportedParameter: an unknown name.
            InvalidRequest: a missing or wrong value; ``param`` names the first.
        """
        return parsed(self.name, self.parameters, values)

    def audited_in(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the audit log records of ``values``, decoded JSON that may be invalid."""
        return audited(self.audited, values)


def audited(names: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit log records of ``values``: those of ``names``, if they are not too long."""
    return {name: _shortened(values[name]) for name in names if values.get(name) is not None}


def _shortened(value: Any) -> Any:
    text = json.dumps(value, default=str)
    return value if len(text) <= LONGEST_AUDITED else f"({len(text)} characters)"


def parsed(name: str, parameters: type[P], values: Mapping[str, Any]) -> P:
    """Return ``values`` as ``parameters`` of the operation ``name``; raises like :meth:`Operation.parse`."""
    try:
        return parameters.model_validate(dict(values))
    except ValidationError as error:
        raise _explained(name, parameters, error) from None


def _explained(name: str, parameters: type[BaseModel], error: ValidationError) -> ModelhostError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    *path, last = (str(part) for part in first["loc"])
    param = ".".join([*path, last])
    if first["type"] != "extra_forbidden":
        return InvalidRequest(f"{param}: {first['msg']}.", param=param)
    known = _fields(parameters, path)
    close = difflib.get_close_matches(last, known, n=1)
    has = f"Available: {', '.join(known)}." if known else "It takes none."
    hint = f'Did you mean "{close[0]}"?' if close else has
    return UnsupportedParameter(f'{name} has no parameter "{param}". {hint}', param=param)


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        within = model.model_fields[part].annotation
        if not (isinstance(within, type) and issubclass(within, BaseModel)):
            return []
        model = within
    return list(model.model_fields)


AnyOperation = Operation[Any, Any]


_BEGINNING: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)
_EXAMPLE_TIME: Final = "2026-01-01T12:00:00Z"


def _written(value: Any) -> Any:
    """Refuse numbers, which pydantic would guess to be seconds or milliseconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and _BEGINNING.match(value)):
        return value
    raise PydanticCustomError("datetime_type", "Input should be a time such as {example}", {"example": _EXAMPLE_TIME})


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError(
            "timezone_aware", "Input should have a time zone, as {example} has", {"example": _EXAMPLE_TIME}
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_range", "Input should be in the years 1 to 9999 of UTC") from None


Timestamp = Annotated[datetime, Field(strict=False), BeforeValidator(_written), AfterValidator(_in_utc)]
"""RFC 3339 with a time zone, within the years that a database supports in UTC."""


Step = TypeVar("Step")


@asynccontextmanager
async def sending_progress(send: Callable[[Step], Awaitable[None]]) -> AsyncIterator[Callable[[Step], None]]:
    """Yield a callback, for any thread, whose progress ``send`` sends in order.

    All of it has been sent when the context ends; nothing is sent any more after an error.
    """
    loop = asyncio.get_running_loop()
    steps: asyncio.Queue[Step | None] = asyncio.Queue()

    async def send_all() -> None:
        while (progress := await steps.get()) is not None:
            await send(progress)

    sending = asyncio.create_task(send_all(), name="sending progress")
    try:
        yield lambda progress: _put(loop, steps, progress)
        _put(loop, steps, None)  # behind what other threads have put before
        await sending
    finally:
        sending.cancel()


def _put(loop: asyncio.AbstractEventLoop, steps: asyncio.Queue[Step | None], progress: Step | None) -> None:
    loop.call_soon_threadsafe(steps.put_nowait, progress)


class CombinedProgress:
    """The combined progress of several concurrent operations."""

    def __init__(self, count: int, on_progress: OnProgress) -> None:
        self._fractions = [0.0] * count
        self._on_progress = on_progress

    def of(self, place: int) -> OnProgress:
        """Return the callback of the operation ``place``, counted from 0."""

        def report(progress: Progress) -> None:
            self._fractions[place] = progress.fraction or 0.0
            share = sum(self._fractions) / len(self._fractions)
            self._on_progress(Progress(fraction=share, message=progress.message))

        return report
