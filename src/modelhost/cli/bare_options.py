"""Options before or without a command: ``modelhost --m org/name --p 2000`` means ``modelhost serve ...``.

candle-vllm and mistral.rs are started this way; a word for the kind of model may follow: ``--port 1234 gguf -m DIR``.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

SERVE: Final = "serve"


class MisplacedOptionError(ValueError):
    """A command does not have the options before it; the message says where they belong."""


def begins_with_option(args: list[str]) -> bool:
    return bool(args) and args[0].startswith("-") and args[0] not in ("-", "--")


def is_option_of(arg: str, options: Collection[str]) -> bool:
    """Whether ``arg`` is one of ``options``, with or without a value."""
    return _name(arg, options) in options


def options_with_value(command: Any) -> dict[str, bool]:
    """Return the names of a command's options, each with whether a value follows it."""
    options = [each for each in command.params if each.param_type_name == "option"]
    return {name: not each.is_flag for each in options for name in (*each.opts, *each.secondary_opts)}


def is_closer_to(arg: str, options: Collection[str], others: Iterable[str]) -> bool:
    """Whether the unknown option ``arg`` resembles one of ``options`` more than one of ``others``."""
    closest = difflib.get_close_matches(_name(arg, options), [*options, *others], n=1)
    return bool(closest) and closest[0] in options


def insert_command(
    args: list[str], options: Mapping[str, bool], *, forms: Collection[str], commands: Collection[str]
) -> list[str]:
    """Return ``args``, which begin with ``options`` of ``serve``, with the command in front.

    The command is the first word if it is one of ``forms``, which take the same options, else ``serve``.

    Raises:
        MisplacedOptionError: the first word is one of ``commands``, which do not take these options.
    """
    count = _leading(args, options)
    leading, rest = args[:count], args[count:]
    word = rest[0] if rest else SERVE
    if word in forms:
        return [word, *leading, *rest[1:]]
    if word in commands:
        raise MisplacedOptionError(
            f"{leading[0]} before {word} is an option of {SERVE}; the options of {word} stand after it: "
            f"modelhost {word} --help"
        )
    return [SERVE, *args]


def _leading(args: list[str], options: Mapping[str, bool]) -> int:
    at = 0
    while at < len(args):
        name = _name(args[at], options)
        if name not in options:
            break
        at += 2 if options[name] and args[at] == name else 1
    return min(at, len(args))


def _name(arg: str, options: Collection[str]) -> str:
    """Return the option name in ``arg``: without ``=VALUE``, or without what follows a short option."""
    if arg.startswith("--"):
        return arg.partition("=")[0]
    return arg[:2] if arg not in options else arg
