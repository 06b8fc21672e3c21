"""The form of an MCP server's question, filled in line by line.

Fields are what MCP allows in such a form: text, numbers, booleans, one of several values, some of several values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from modelhost.cli import console

DECLINE: Final = "/decline"
HELP: Final = f"(an empty line takes what is in brackets; {DECLINE} tells nothing, Ctrl-D cancels)"
YES: Final = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}
ReadLine = Callable[[str], str]


class DeclinedError(Exception):
    """The person does not want to tell."""


def fill_in(schema: Mapping[str, Any], read_line: ReadLine) -> dict[str, Any]:
    """The values for the fields of ``schema``, as the person types them; optional ones may be left out.

    Raises:
        DeclinedError: as its name says.
        EOFError: the input ended.
    """
    console.note(HELP)
    required = schema.get("required") or ()
    answers: dict[str, Any] = {}
    for name, wanted in (schema.get("properties") or {}).items():
        value = _asked(name, wanted, read_line, is_required=name in required)
        if value is not None:
            answers[name] = value
    return answers


def _asked(name: str, field: Mapping[str, Any], read_line: ReadLine, *, is_required: bool) -> Any:
    """The value of one field; ``None`` for nothing. It is asked for until it fits."""
    while True:
        line = read_line(_prompt(name, field, is_required=is_required)).strip()
        if line == DECLINE:
            raise DeclinedError
        if not line and ("default" in field or not is_required):
            return field.get("default")
        if not line:
            console.error("this one is needed")
            continue
        try:
            value = value_of(line, field)
            _check(name, value, field)
        except ValueError as error:
            console.error(str(error))
        else:
            return value


def value_of(line: str, field: Mapping[str, Any]) -> Any:
    """What was typed, as the value that the field wants.

    Raises:
        ValueError: it is none; the message says what is wanted.
    """
    if choices := choices_of(field):
        return _choice(line, choices)
    kind = field.get("type")
    if kind == "array":
        among = choices_of(field.get("items") or {})
        parts = [part.strip() for part in line.split(",") if part.strip()]
        value: Any = [_choice(part, among) if among else part for part in parts]
    elif kind == "boolean":
        value = YES.get(line.lower())
        if value is None:
            raise ValueError("expected y or n")
    elif kind in {"integer", "number"}:
        value = _number(line, kind)
    else:
        value = line
    return value


def choices_of(field: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The values that a field may have, each with what it is called; none if it may have any."""
    if options := field.get("oneOf") or field.get("anyOf"):
        return [(str(option["const"]), str(option.get("title", option["const"]))) for option in options]
    values = [str(value) for value in field.get("enum") or ()]
    names = [str(name) for name in field.get("enumNames") or ()]
    return list(zip(values, names if len(names) == len(values) else values, strict=True))


def _choice(line: str, choices: Sequence[tuple[str, str]]) -> str:
    """By its number, its value or its name."""
    if line.isdecimal() and 1 <= int(line) <= len(choices):
        return choices[int(line) - 1][0]
    for value, name in choices:
        if line in {value, name}:
            return value
    raise ValueError(f"expected a number from 1 to {len(choices)}")


def _number(line: str, kind: str) -> int | float:
    try:
        return int(line) if kind == "integer" else float(line)
    except ValueError:
        raise ValueError("expected a whole number" if kind == "integer" else "expected a number") from None


def _check(name: str, value: Any, field: Mapping[str, Any]) -> None:
    # Here and not at the top: few conversations come to this point.
    from modelhost.tools.arguments import ArgumentCheck  # noqa: PLC0415

    schema = {"type": "object", "properties": {name: dict(field)}}
    problems = ArgumentCheck(schema, checks_formats=True).problems({name: value})
    if problems:
        raise ValueError(console.printable(problems[0]))


def _prompt(name: str, field: Mapping[str, Any], *, is_required: bool) -> str:
    title = str(field.get("title") or name)
    about = f" ({field['description']})" if field.get("description") else ""
    choices = choices_of(field) or choices_of(field.get("items") or {})
    listed = "".join(f"\n  {number} {shown}" for number, (_, shown) in enumerate(map(_clean, choices), start=1))
    several = ", several with commas" if field.get("type") == "array" else ""
    hint = " y/n" if field.get("type") == "boolean" else ""
    return f"{console.printable(title + about)}{several}{listed}{hint}{_bracket(field, is_required=is_required)}: "


def _bracket(field: Mapping[str, Any], *, is_required: bool) -> str:
    if "default" in field:
        return f" [{console.printable(json.dumps(field['default'], ensure_ascii=False))}]"
    return "" if is_required else " [nothing]"


def _clean(choice: tuple[str, str]) -> tuple[str, str]:
    return choice[0], console.printable(choice[1])
