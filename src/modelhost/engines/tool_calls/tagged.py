"""Calls with each argument between tags, as text: strings as they are, everything else as JSON.

The schema of the tool determines the type of an argument (as in the parsers of Qwen3-Coder and GLM).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from modelhost.engines.tool_calls.calls import CallDelta, CallForm, CallParser, ToolCallFormat
from modelhost.engines.tool_calls.grammar import DEFINITIONS, Literals, arguments_of, choice, json_value, types_of
from modelhost.engines.tool_calls.json_end import ValueEnds, as_json, pattern_of
from modelhost.engines.tool_calls.python import literal_in

_CONTAINERS: Final[Mapping[str, type]] = {"array": list, "object": dict}
_LITERALS: Final = {"True": True, "False": False, "None": None}


@dataclass(frozen=True, kw_only=True)
class TaggedForm(CallForm):
    """Calls with arguments between tags.

    Args:
        head: the text before the arguments, with ``{name}``.
        key: the text before an argument, with ``{key}``.
        value_end: the text after it.
        end: the text after all arguments; empty if that is ``closing``.
        has_lines: values are on separate lines.
        begins_with_head: some calls have no ``opening``.
    """

    head: str
    key: str
    value_end: str
    end: str = ""
    has_lines: bool = False
    begins_with_head: bool = False

    @property
    def openings(self) -> tuple[str, ...]:
        return (self.opening, self.head_mark) if self.begins_with_head else (self.opening,)

    @property
    def head_mark(self) -> str:
        return self.head.strip().partition("{")[0]

    @cached_property
    def head_pattern(self) -> re.Pattern[str]:
        return re.compile(rf"\s*{pattern_of(self.head)}\s*(?=<)")

    @cached_property
    def key_pattern(self) -> re.Pattern[str]:
        """The pattern of ``key``, without the line break after it, which belongs to the value."""
        return re.compile(rf"\s*{pattern_of(self.key)}")

    @cached_property
    def value_ends(self) -> ValueEnds:
        return ValueEnds(
            own=self.value_end,
            key=self.key,
            call=self.end.strip() or self.closing,
            following=(self.closing, self.head_mark, self.opening) if self.end else (self.opening,),
            has_lines=self.has_lines,
        )

    def parser(self, calling: ToolCallFormat, opening: str, index: int) -> CallParser:
        return TaggedParser(calling, opening, index, self)

    def grammar(self, tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
        literals = Literals(self.markers, vocabulary)

        def rules_of(name: str, function: Mapping[str, Any]) -> list[str]:
            arguments, required = arguments_of(function)
            uses, rules = [], []
            for number, (key, schema) in enumerate(arguments):
                use, rule = self._value(literals, f"{name}_{number}", schema)
                uses.append(f"({literals.of(self.key.format(key=key))} {use}){'' if key in required else '?'}")
                rules.append(rule)
            head = literals.of(self.opening + self.head.format(name=function["name"]))
            return [f"{name}: {head} {' '.join(uses)} {literals.of(self.end + self.closing)}", *rules]

        return choice(tools, rules_of)

    def _value(self, literals: Literals, name: str, schema: Mapping[str, Any]) -> tuple[str, str]:
        """Return the reference to, and the rule of, an argument with the text after it."""
        if types_of(schema) != {"string"}:
            return f"{name} {literals.of(self.value_end)}", f"{name}: {json_value(schema)}"
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is None:
            return literals.text_until(self.value_end, name, schema)
        return f"{name} {literals.of(self.value_end)}", f"{name}: {' | '.join(literals.of(each) for each in values)}"


class TaggedParser(CallParser):
    """Parses calls of a :class:`TaggedForm`."""

    def __init__(self, calling: ToolCallFormat, opening: str, index: int, form: TaggedForm) -> None:
        super().__init__(calling, opening if opening == form.opening else "", index)
        if opening != form.opening:
            self._waiting = opening  # the head itself
        self._form = form
        self._schema: Mapping[str, Any] = {}
        self._keys = 0
        self._in_call = False
        self._value: Mapping[str, Any] | None = None  # the schema of the argument that is being written
        self._is_text = self._has_text = False

    def finish(self) -> str:
        if self._in_call:
            return ""
        waiting = self._waiting.strip()
        if self._has_called and (not waiting or self._form.closing.startswith(waiting)):
            return ""
        return self._unread(self._waiting)

    def last_pieces(self) -> list[CallDelta]:
        if self._value is not None and (end := self._form.value_ends.last(self._waiting)) is not None:
            self._end_value(self._value, self._waiting[:end])
            self._go_on("}")
            self._in_call, self._waiting = False, ""
        return super().last_pieces()

    def _advance(self) -> bool:
        if self._value is not None:
            return self._read_value(self._value)
        return self._read_argument() if self._in_call else self._read_head()

    def _read_head(self) -> bool:
        if self._has_called and self._calling.one_call and self._form.end:
            # The closing marker is part of the answer: a continued conversation contains it, too.
            _, closing, rest = self._waiting.partition(self._form.closing)
            self.rest = rest if closing or self._form.head_mark in self._waiting else None
            return False
        head = self._form.head_pattern.match(self._waiting)
        if head is not None:
            self._begin(head[1])
            self._schema = self._calling.parameters_of(head[1])
            self._waiting, self._in_call, self._keys = self._waiting[head.end() :], True, 0
            return True
        inside, closing, rest = self._waiting.partition(self._form.closing)
        if closing and self._has_called and not inside.strip():
            self.rest = rest
        elif closing:
            self._give_up(inside + closing, rest)
        return False

    def _read_argument(self) -> bool:
        end = self._form.end.strip() or self._form.closing
        key = self._form.key_pattern.search(self._waiting)
        ends = self._waiting.find(end)
        if key is not None and (ends < 0 or key.start() < ends):
            self._begin_argument(key[1])
            self._waiting = self._waiting[key.end() :]
            return True
        if ends < 0:
            return False
        self._go_on("}" if self._keys else "{}")
        self._waiting, self._in_call = self._waiting[ends + len(end) :], False
        if not self._form.end:
            self.rest = self._waiting
        return True

    def _begin_argument(self, key: str) -> None:
        properties = self._schema.get("properties") or {}
        schema = properties.get(key)
        definitions = {name: self._schema[name] for name in DEFINITIONS if name in self._schema}
        self._value = {**definitions, **schema} if isinstance(schema, Mapping) else {}
        self._is_text, self._has_text = types_of(self._value) == {"string"}, False
        before, after = ", " if self._keys else "{", '"' if self._is_text else ""
        self._go_on(f"{before}{orjson.dumps(key).decode()}: {after}")
        self._keys += 1

    def _read_value(self, schema: Mapping[str, Any]) -> bool:
        if self._form.has_lines and not self._has_text:
            if not self._waiting:
                return False
            self._waiting, self._has_text = self._waiting.removeprefix("\n"), True
        if (ends := self._form.value_ends.find(self._waiting, self._is_key)) is not None:
            self._end_value(schema, self._waiting[: ends[0]])
            self._waiting = self._waiting[ends[1] :]
            return True
        if self._is_text:
            ready = len(self._waiting) - self._form.value_ends.held(self._waiting)
            self._go_on(_inside_string(self._waiting[:ready]))
            self._waiting = self._waiting[ready:]
        return False

    def _end_value(self, schema: Mapping[str, Any], rest: str) -> None:
        written = orjson.dumps(_value_of(rest, types_of(schema))).decode()
        self._go_on(_inside_string(rest) + '"' if self._is_text else written)
        self._value = None

    def _is_key(self, name: str) -> bool:
        properties = self._schema.get("properties")
        return not properties or name in properties


def _value_of(text: str, types: frozenset[str]) -> Any:
    """Return the value of ``text`` for an argument of one of ``types``, or of unknown type."""
    stripped = text.strip()
    try:
        value = orjson.loads(as_json(stripped) if stripped[:1] in {"{", "["} else stripped)
    except orjson.JSONDecodeError:
        return _python_value_of(stripped, text, types)
    if not types:
        return value if isinstance(value, dict | list) else text
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_fit = {
        "boolean": isinstance(value, bool),
        "integer": is_number,
        "number": is_number,
        "null": value is None,
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
        "string": isinstance(value, str),
    }
    return value if "string" not in types or any(is_fit.get(kind, False) for kind in types) else text


def _python_value_of(stripped: str, text: str, types: frozenset[str]) -> Any:
    """Return a list or object in Python's syntax, if one is required; otherwise ``text``."""
    wanted = tuple(kind for name, kind in _CONTAINERS.items() if name in types)
    if wanted and "string" not in types and stripped[:1] in {"{", "["}:
        with suppress(ValueError):
            value = literal_in(stripped)
            return value if isinstance(value, wanted) else text
    return _LITERALS.get(stripped, text) if types else text


def _inside_string(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]
