"""Calls in the syntax of Python: ``[get_weather(city="Paris"), now()]`` (Llama 4, LFM2)."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from modelhost.engines.tool_calls.calls import CallForm, CallParser, ToolCallFormat, WholeCallParser
from modelhost.engines.tool_calls.grammar import Literals, arguments_of, choice, json_value, types_of

_BEGINNING: Final = re.compile(r"\s*(?:\[\s*(?:[A-Za-z_][\w.]*\s*(?:\(.*)?)?)?", re.DOTALL)
_JSON_NAMES: Final = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, kw_only=True)
class PythonForm(CallForm):
    """Calls in Python. ``is_bare``: an answer may begin with the list itself."""

    is_bare: bool = False

    def may_start_unmarked(self, text: str) -> bool:
        return self.is_bare and _BEGINNING.fullmatch(text) is not None

    def parser(self, calling: ToolCallFormat, opening: str, index: int) -> CallParser:
        return WholeCallParser(calling, opening, index, self)

    def end_of(self, text: str, opening: str) -> tuple[int, int] | None:
        if opening:
            end = text.find(self.closing)
            return None if end < 0 else (end, end + len(self.closing))
        if not self.may_start_unmarked(text):
            return len(text), len(text)
        list_end = _list_end(text)
        return None if list_end is None else (list_end, list_end)

    def read(self, text: str) -> list[tuple[str, Mapping[str, Any]]] | None:
        try:
            body = _parsed(text.strip())
            calls = body.elts if isinstance(body, ast.List) else [body]
            return [_call(call) for call in calls] or None
        except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
            return None

    def grammar(self, tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
        literals = Literals(self.markers, vocabulary)
        opening, closing = ("", "") if self.is_bare else (self.opening, self.closing)

        def rules_of(name: str, function: Mapping[str, Any]) -> list[str]:
            arguments, required = arguments_of(function)
            rules = [f"{name}_{number}: {_value(schema)}" for number, (_, schema) in enumerate(arguments)]
            uses = [(f"{literals.of(f'{key}=')} {name}_{number}", key) for number, (key, _) in enumerate(arguments)]
            inside = in_commas(
                [use for use, key in uses if key in required], [use for use, key in uses if key not in required]
            )
            head, end = literals.of(f"{opening}[{function['name']}("), literals.of(f")]{closing}")
            return [f"{name}: {head} {inside} {end}", *rules]

        return choice(tools, rules_of)


def in_commas(required: Sequence[str], optional: Sequence[str], comma: str = '", "') -> str:
    """Return a rule of all of ``required`` and any of ``optional``, in this order, separated by commas."""
    if required:
        return f" {comma} ".join(required) + "".join(f" ({comma} {each})?" for each in optional)
    starts = [f"{each}{_others(optional[number + 1 :], comma)}" for number, each in enumerate(optional)]
    return f"({' | '.join(starts)})?" if starts else ""


def _others(optional: Sequence[str], comma: str) -> str:
    return "".join(f" ({comma} {each})?" for each in optional)


def _value(schema: Mapping[str, Any]) -> str:
    return '"True" | "False"' if types_of(schema) == {"boolean"} else json_value(schema)


def literal_in(text: str) -> Any:
    """Return the value of ``text``, a literal of Python or JSON.

    Raises:
        ValueError: it is not one that JSON could represent.
    """
    try:
        value = ast.literal_eval(_Literals().visit(_parsed(text)))
        orjson.dumps(value)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError("no value") from error
    return value


def _parsed(text: str) -> ast.expr:
    """Parse ``text`` as an expression; its strings may contain line breaks."""
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        if "\n" not in text:
            raise
        return ast.parse(_with_escaped_breaks(text), mode="eval").body


def _with_escaped_breaks(text: str) -> str:
    written, quote, is_escaped = list[str](), "", False
    for character in text:
        if quote and character == "\n":
            character = "n" if is_escaped else "\\n"  # noqa: PLW2901
        if is_escaped:
            is_escaped = False
        elif quote:
            is_escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        written.append(character)
    return "".join(written)


def _call(node: ast.expr) -> tuple[str, Mapping[str, Any]]:
    """Return name and arguments of a call (ValueError: it is not a call with keyword arguments)."""
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("no call with arguments by name")
    arguments = {str(keyword.arg): ast.literal_eval(_Literals().visit(keyword.value)) for keyword in node.keywords}
    return ast.unparse(node.func), arguments


class _Literals(ast.NodeTransformer):
    """Converts JSON within Python: its constants, and surrogate pairs."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if not isinstance(node.value, str):
            return node
        return ast.Constant(node.value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _list_end(text: str) -> int | None:
    """Return the end of the list that begins ``text``; ``None`` if it is incomplete."""
    depth, quote, is_escaped = 0, "", False
    for position, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif quote:
            is_escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[({":
            depth += 1
        elif character in "])}":
            depth -= 1
            if depth == 0:
                return position + 1
    return None
