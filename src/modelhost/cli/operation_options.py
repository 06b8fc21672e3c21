"""Commands that have a running host do one operation: their options are made from the operation's parameters."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Concatenate, Final, Union

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from modelhost.cli.running_host import AsJson, Key, RunningHost, Url, running_host
from modelhost.cli.signature import option, with_signature
from modelhost.operations.operation import Operation, P, R

KINDS: Final = (bool, int, float)
"""What options are typed as; all others are text, which the operation reads."""
_SHARED: Final = (option("as_json", AsJson, False), option("url", Url, None), option("api_key", Key, None))


def takes(
    operation: Operation[P, R], *, argument: str | None = None
) -> Callable[[Callable[Concatenate[RunningHost, P, ...], None]], Callable[..., None]]:
    """A command with an option for each parameter of ``operation``; the one called ``argument`` needs no flag.

    The command gets the host, the parameters, ``as_json`` and its own options.
    """

    def decorate(command: Callable[Concatenate[RunningHost, P, ...], None]) -> Callable[..., None]:
        _host, _asked, _as_json, *own = inspect.signature(command, eval_str=True).parameters.values()
        fields = operation.parameters.model_fields
        options = [_option(name, field, is_argument=name == argument) for name, field in fields.items()]

        @functools.wraps(command)
        def with_options(**values: Any) -> None:
            url, api_key = values.pop("url"), values.pop("api_key")
            given = {name: values.pop(name) for name in fields}
            asked = operation.parse({name: value for name, value in given.items() if value is not None})
            command(running_host(url, api_key), asked, **values)

        return with_signature(with_options, [*options, *own, *_SHARED])

    return decorate


def _option(name: str, field: FieldInfo, *, is_argument: bool) -> inspect.Parameter:
    kind = next((kind for kind in KINDS if kind in _types(field.annotation)), str)
    text, default = escape(field.description or ""), None if field.is_required() else field.default
    is_open = kind is bool and default is None and not field.is_required()
    annotation = kind if (kind is bool and not is_open) or field.is_required() else kind | None
    shows = default is not None
    if is_argument:
        metavar = name.removesuffix("_id").upper()
        value = typer.Argument(
            metavar=metavar if field.is_required() else f"[{metavar}]", help=text, show_default=shows
        )
    else:
        flag = name.replace("_", "-")
        flags = f"--{flag}/--no-{flag}" if kind is bool and (default is True or is_open) else f"--{flag}"
        value = typer.Option(flags, help=text, show_default=shows)
    return option(name, Annotated[annotation, value], inspect.Parameter.empty if field.is_required() else default)


def _types(annotation: Any) -> set[Any]:
    """The types that a value may have."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _types(typing.get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {found for part in typing.get_args(annotation) for found in _types(part)}
    return {annotation}
