"""Asks the user at the terminal whether a tool may run, and to fill in forms of MCP servers line by line.

Fields are those that MCP allows in forms: text, numbers, booleans, one or several of given values.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import typer

from modelhost import lazy
from modelhost.cli import console

DECLINE: Final = "/decline"
HELP: Final = f"(an empty line keeps the value in brackets; {DECLINE} declines, Ctrl-D cancels)"
YES_NO: Final = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}
ReadLine = Callable[[str], str]


class DeclinedError(Exception):
    """The user declines to answer."""


def fill_form(schema: Mapping[str, Any], read_line: ReadLine) -> dict[str, Any]:
    """Ask for the fields of ``schema`` and return their values; optional ones may be left out.

    Raises:
        DeclinedError: the user declines.
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
    """Ask for one field until the value is valid; ``None`` if it is left out."""
    while True:
        line = read_line(_prompt(name, field, is_required=is_required)).strip()
        if line == DECLINE:
            raise DeclinedError
        if not line and ("default" in field or not is_required):
            return field.get("default")
        if not line:
            console.error("this field is required")
            continue
        try:
            value = parse_value(line, field)
            _check(name, value, field)
        except ValueError as error:
            console.error(str(error))
        else:
            return value


def parse_value(line: str, field: Mapping[str, Any]) -> Any:
    """Parse a line as the value of ``field``.

    Raises:
        ValueError: it is no valid value; the message says what is expected.
    """
    if choices := field_choices(field):
        return _choice(line, choices)
    kind = field.get("type")
    if kind == "array":
        among = field_choices(field.get("items") or {})
        parts = [part.strip() for part in line.split(",") if part.strip()]
        value: Any = [_choice(part, among) if among else part for part in parts]
    elif kind == "boolean":
        value = YES_NO.get(line.lower())
        if value is None:
            raise ValueError("expected y or n")
    elif kind in {"integer", "number"}:
        value = _number(line, kind)
    else:
        value = line
    return value


def field_choices(field: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the allowed values of a field, each with its title; empty if any value is allowed."""
    if options := field.get("oneOf") or field.get("anyOf"):
        return [(str(option["const"]), str(option.get("title", option["const"]))) for option in options]
    values = [str(value) for value in field.get("enum") or ()]
    names = [str(name) for name in field.get("enumNames") or ()]
    return list(zip(values, names if len(names) == len(values) else values, strict=True))


def _choice(line: str, choices: Sequence[tuple[str, str]]) -> str:
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
    schema = {"type": "object", "properties": {name: dict(field)}}
    problems = lazy.tool_arguments.ArgumentCheck(schema, checks_formats=True).problems({name: value})
    if problems:
        raise ValueError(console.printable(problems[0]))


def _prompt(name: str, field: Mapping[str, Any], *, is_required: bool) -> str:
    title = str(field.get("title") or name)
    about = f" ({field['description']})" if field.get("description") else ""
    choices = field_choices(field) or field_choices(field.get("items") or {})
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


PROMPT: Final = "Allow? [y/N] "
ALWAYS_PROMPT: Final = "Allow? [y/N, a: always in this conversation] "
Content = dict[str, str | int | float | bool | list[str] | None]


def read_from_terminal(prompt: str) -> str:
    """Read a line. The prompt goes to standard error, since the answer on standard output may go into a file."""
    typer.echo(prompt, err=True, nl=False)
    return input()


@dataclass(frozen=True, slots=True, kw_only=True)
class FormAnswer:
    action: Literal["accept", "decline", "cancel"]
    content: Content | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalUser:
    """The user at the terminal. Without one (``is_there``) everything is declined at once."""

    is_there: bool
    read_line: Callable[[str], str] = read_from_terminal
    """Prints a prompt and returns the line; raises ``EOFError`` at the end of the input."""
    approved_tools: set[tuple[str, str]] = field(default_factory=set)
    """Servers and tools that may run without asking, for the rest of the conversation."""

    @classmethod
    def at_terminal(cls) -> TerminalUser:
        return cls(is_there=sys.stdin.isatty())

    def approve(self, question: Mapping[str, Any]) -> bool | None:
        """Ask for approval of ``question`` (a ``modelhost.question`` of kind ``approval``).

        ``None``: there is no terminal.
        """
        what = _what_to_approve(question)
        if not self.is_there:
            console.note(f"{what}\nDenied: no terminal to ask on.")
            return None
        is_tool = question.get("what") != "sampling"
        tool = str(question["server"]), str(question.get("tool"))
        if is_tool and tool in self.approved_tools:
            console.note(f"{what}\nAllowed, as agreed.")
            return True
        console.note(what)
        try:
            said = self.read_line(ALWAYS_PROMPT if is_tool else PROMPT).strip().lower()
        except EOFError:
            console.note("")
            return False
        is_always = is_tool and said in {"a", "always"}
        if is_always:
            self.approved_tools.add(tool)
        return is_always or said in {"y", "yes"}

    def answer(self, question: Mapping[str, Any]) -> FormAnswer:
        """Ask the user to answer ``question`` (a ``modelhost.question`` of kind ``elicitation``)."""
        server, message = console.printable(str(question["server"])), console.printable(str(question["message"]))
        request = f"⚙ {server} requests input: {message}"
        if not self.is_there:
            console.note(f"{request}\nDeclined: no terminal to ask on.")
            return FormAnswer(action="decline")
        console.note(request)
        try:
            if question.get("mode") == "url":
                return self._followed(str(question.get("url")))
            return FormAnswer(action="accept", content=fill_form(question["schema"], self.read_line))
        except DeclinedError:
            return FormAnswer(action="decline")
        except EOFError:
            console.note("")
            return FormAnswer(action="cancel")

    def _followed(self, url: str) -> FormAnswer:
        console.note(f"Open this URL in a browser if you trust it: {console.printable(url)}")
        is_done = self.read_line("Done? [y/N] ").strip().lower() in {"y", "yes"}
        return FormAnswer(action="accept" if is_done else "decline")


def _what_to_approve(question: Mapping[str, Any]) -> str:
    server, arguments = console.printable(str(question["server"])), _shown(question["arguments"])
    if question.get("what") == "sampling":
        return f"⚙ {server} requests text from a model: {arguments}"
    hints = question.get("annotations") or {}
    is_destructive = hints.get("destructiveHint") is True and hints.get("readOnlyHint") is not True
    risk = " (marked as destructive)" if is_destructive else ""
    return f"⚙ {server}.{console.printable(str(question['tool']))}{risk} requests to run with {arguments}"


def _shown(arguments: Any) -> str:
    """Format all arguments: the user approves only what is shown."""
    return console.printable(json.dumps(arguments, ensure_ascii=False))
