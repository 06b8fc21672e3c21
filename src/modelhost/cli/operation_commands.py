"""Commands for the operations of a running host, with names, help and options generated from the operations."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Annotated, Any, Concatenate, Final, Union

import typer
from pydantic.fields import FieldInfo

from modelhost.cli import console
from modelhost.cli.running_host import AsJson, Key, RunningHost, Url, running_host
from modelhost.cli.signature import literal, option, with_signature
from modelhost.operations.operation import AnyOperation, Operation, P, R

Command = tuple[AnyOperation, Callable[..., None], tuple[str, ...]]
"""An operation, the function of its command, and examples."""

KINDS: Final = (bool, int, float)
"""The types of options; others are text, which the operation parses."""
_SHARED: Final = (option("as_json", AsJson, False), option("url", Url, None), option("api_key", Key, None))


def add_commands(app: typer.Typer, group: str, commands: Iterable[Command]) -> None:
    """Add ``commands`` to ``app`` of ``modelhost GROUP``, each with the name and summary of its operation."""
    for operation, command, lines in commands:
        app.command(operation.command, help=f"{operation.summary}.", epilog=examples(group, *lines))(command)


def single_command(
    name: str, operation: AnyOperation, command: Callable[..., None], lines: tuple[str, ...]
) -> typer.Typer:
    """Return ``modelhost NAME``, with the summary of its operation, and examples."""
    app = typer.Typer(add_completion=False)
    app.command(help=f"{operation.summary}.", epilog=examples(name, *lines))(command)
    return app


def examples(group: str, *lines: str) -> str:
    """Return the examples in a command's help; ``lines`` are what follows ``modelhost GROUP``."""
    return "\n".join(["Examples:", *(f"  modelhost {group} {line}".rstrip() for line in lines)])


def print_result(result: R, show: Callable[[R], None], *, as_json: bool) -> None:
    if as_json:
        console.print_json(result.model_dump(mode="json"))
    else:
        show(result)


def operation_command(
    operation: Operation[P, R], *, argument: str | None = None
) -> Callable[[Callable[Concatenate[RunningHost, P, ...], None]], Callable[..., None]]:
    """Give a command an option for each parameter of ``operation``; the one called ``argument`` needs no flag.

    The command gets the host, the parameters, ``as_json`` and its own options.
    """

    def decorate(command: Callable[Concatenate[RunningHost, P, ...], None]) -> Callable[..., None]:
        _host, _parameters, _as_json, *own = inspect.signature(command, eval_str=True).parameters.values()
        fields = operation.parameters.model_fields
        options = [_option(name, field, is_argument=name == argument) for name, field in fields.items()]

        @functools.wraps(command)
        def with_options(**values: Any) -> None:
            url, api_key = values.pop("url"), values.pop("api_key")
            given = {name: values.pop(name) for name in fields}
            parameters = operation.parse({name: value for name, value in given.items() if value is not None})
            command(running_host(url, api_key), parameters, **values)

        return with_signature(with_options, [*options, *own, *_SHARED])

    return decorate


def result_command(
    operation: Operation[P, R], show: Callable[[R], None], *, argument: str | None = None
) -> Callable[..., None]:
    """Return the command that runs ``operation`` and prints its result with ``show``, or as JSON."""

    @operation_command(operation, argument=argument)
    def command(host: RunningHost, parameters: Any, as_json: bool) -> None:
        print_result(host.call(operation, parameters), show, as_json=as_json)

    return command


def _option(name: str, field: FieldInfo, *, is_argument: bool) -> inspect.Parameter:
    kind = next((kind for kind in KINDS if kind in _types(field.annotation)), str)
    text, default = literal(field.description or ""), None if field.is_required() else field.default
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
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _types(typing.get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {found for part in typing.get_args(annotation) for found in _types(part)}
    return {annotation}
