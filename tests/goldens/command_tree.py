"""Every command with its arguments and options, as the program declares them: no help text, which is wrapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from typer.main import get_command

from modelhost.cli.main import FORMS, app

NAMES: Final = {str: "text", int: "integer", float: "number", bool: "yes or no", Path: "path"}


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, with its words; at the end those that the help does not list."""
    root: Any = get_command(app)
    yield from _below(root, ())
    for name in FORMS:
        yield name, root.get_command(None, name)


def _below(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from _below(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def command_tree() -> str:
    """All commands as text."""
    lines = ["modelhost", *_parameters(get_command(app))]
    for words, command in commands():
        lines += ["", f"modelhost {words}", *_parameters(command)]
    return "\n".join([*lines, ""])


def _parameters(command: Any) -> Iterator[str]:
    for parameter in command.params:
        names = parameter.metavar if parameter.param_type_name == "argument" else ", ".join(parameter.opts)
        off = "".join(f" / {name}" for name in parameter.secondary_opts)
        more = [kind_of(parameter)]
        if parameter.required:
            more.append("required")
        if parameter.default not in (None, (), False) and not callable(parameter.default):
            more.append(f"default {parameter.default}")
        yield f"    {names}{off}: {', '.join(more)}"


def kind_of(parameter: Any) -> str:
    """What a parameter takes."""
    if getattr(parameter, "is_flag", False):
        return "flag"
    return _kind(parameter.type_descriptor.annotation)


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {' '.join(map(str, arguments))}"
    if origin in (list, tuple):
        return f"{_kind(arguments[0])}, repeatedly"
    if arguments:
        return " or ".join(_kind(each) for each in arguments if each is not type(None))
    return NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
