"""What an administrative operation is: declared once; HTTP, the command line and MCP are rendered from it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from modelhost.errors import InvalidRequest, ModelhostError, UnsupportedParameter

_IN_BRACES: Final = re.compile(r"\{(\w+)\}")
LONGEST_AUDITED: Final = 1000
"""Characters of JSON that the audit log keeps of one parameter."""


class Parameters(BaseModel):
    """What an operation takes. Strict: ``"0.5"`` is no number, and a name that is not listed is refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)


class NoParameters(Parameters):
    """Nothing."""


class Result(BaseModel):
    """What an operation gives. A reader of an older version skips fields that it does not know."""

    model_config = ConfigDict(frozen=True, defer_build=True)  # the command line imports all, and uses one


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an operation is."""

    fraction: float | None
    """0 to 1, where it is known."""
    message: str


OnProgress = Callable[[Progress], None]
"""Told about each step; it may be called from another thread."""


def ignore_progress(_progress: Progress) -> None:
    """Take no notice: for a face that cannot show progress."""


P = TypeVar("P", bound=Parameters)
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """Where an operation is served.

    ``{name}`` in the path is a parameter that may hold slashes; the others are the body of a POST, or in the query of a
    GET or DELETE, where all are text.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str

    @property
    def path_names(self) -> tuple[str, ...]:
        """The parameters that the path holds."""
        return tuple(_IN_BRACES.findall(self.path))

    def path_with(self, fill: Callable[[str], str]) -> str:
        """The path with what ``fill`` makes of the name of each parameter in it."""
        return _IN_BRACES.sub(lambda named: fill(named[1]), self.path)


Area = Literal["llm", "models", "tools", "sessions", "state"]
"""What operations are about; the group of commands that shows them has its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[P, R]):
    """One operation on a host."""

    name: str
    """Its name as a tool, and in metrics and logs."""
    summary: str
    parameters: type[P]
    result: type[R]
    work: Callable[[Any, P, OnProgress], Awaitable[R]]
    """Runs it on a :class:`modelhost.host.Host`, or on an object with the parts of one that it needs."""
    route: HttpRoute | None
    """``None``: it is served in a shape of its own."""
    command: str | None = None
    """The command below ``modelhost models``, or whatever ``area`` says, that shows it."""
    is_read_only: bool = False
    area: Area = "models"
    errors: tuple[type[ModelhostError], ...] = ()
    """What it raises besides the errors that any request can meet."""
    reports_progress: bool = False
    """Whether it may take minutes, and tells how far it is."""
    audited: tuple[str, ...] = ()
    """The parameters that the audit log may keep: never a secret, and never what somebody said or wrote."""
    example: Mapping[str, Any]
    """Parameters as JSON."""
    answer: Mapping[str, Any] | Callable[[], Result]
    """The result for them, as JSON or as what makes it."""

    @property
    def example_answer(self) -> dict[str, Any]:
        """The result for the example, as JSON."""
        return self.answer().model_dump(mode="json") if callable(self.answer) else dict(self.answer)

    async def run(self, host: Any, parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        """Do it; raises one of ``errors``, or what any request can meet."""
        return await self.work(host, parameters, on_progress)

    def parse(self, values: Mapping[str, Any]) -> P:
        """Return ``values``, which came as JSON, as parameters.

        Raises:
            UnsupportedParameter: a name that this operation does not have.
            InvalidRequest: a value that is missing or wrong; ``param`` names the first.
        """
        return parsed(self.name, self.parameters, values)

    def audited_in(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the audit log may keep of ``values``, which came as JSON and need not be right."""
        return {name: _shortened(values[name]) for name in self.audited if values.get(name) is not None}


def _shortened(value: Any) -> Any:
    text = json.dumps(value, default=str)
    return value if len(text) <= LONGEST_AUDITED else f"({len(text)} characters)"


def parsed(name: str, parameters: type[P], values: Mapping[str, Any]) -> P:
    """Return ``values`` as ``parameters`` of what is called ``name``; raises as :meth:`Operation.parse` does."""
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
    has = f"There is: {', '.join(known)}." if known else "It takes none."
    hint = f'Did you mean "{close[0]}"?' if close else has
    return UnsupportedParameter(f'{name} has no parameter "{param}". {hint}', param=param)


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the names that the model below ``path`` takes."""
    for part in path:
        within = model.model_fields[part].annotation
        if not (isinstance(within, type) and issubclass(within, BaseModel)):
            return []
        model = within
    return list(model.model_fields)


AnyOperation = Operation[Any, Any]
