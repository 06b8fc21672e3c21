"""Calls with their arguments as a JSON object, read piece by piece: after a header with the name, or in an object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from modelhost.engines.tool_calls.calls import CallForm, CallParser, ToolCallFormat
from modelhost.engines.tool_calls.grammar import Literals, arguments_schema, choice, json_value
from modelhost.engines.tool_calls.json_end import ObjectEnd, as_json

_TEXT: Final = r'"(?:[^"\\]|\\.)+"'


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of an object that is a call.

    Args:
        number: the key of the call's number in the conversation, a string that comes first; empty if there is none.
    """

    name: str = "name"
    arguments: str = "arguments"
    number: str = ""

    @cached_property
    def head(self) -> str:
        """The regular expression of the text before the arguments, with the group ``json`` for the name."""
        number = rf'(?:"{self.number}"\s*:\s*(?:"[^"\\]*"|\d+)\s*,\s*)?' if self.number else ""
        return (
            rf'[\s\[,;]*\{{\s*(?:"type"\s*:\s*"function"\s*,\s*)?{number}"{self.name}"\s*:\s*(?P<json>{_TEXT})\s*,\s*'
            r'"(?:arguments|parameters)"\s*:\s*(?=\{)'
        )

    def schema(self, function: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of a call of ``function``.

        Definitions are at its root, where references look for them.
        """
        arguments, definitions = arguments_schema(function)
        number = {self.number: {"type": "string", "pattern": "^[0-9]{1,4}$"}} if self.number else {}
        properties = {**number, self.name: {"const": function["name"]}, self.arguments: arguments}
        return {
            **definitions,
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def call_in(self, text: str) -> tuple[str, str] | None:
        """Return name and arguments of the call ``text``, with keys in any order; ``None`` if it is not a call."""
        try:
            call = orjson.loads(as_json(text))
        except orjson.JSONDecodeError:
            return None
        if isinstance(call.get("function"), dict):
            call = call["function"]
        if not isinstance(call.get(self.name), str):
            return None
        arguments = call.get("arguments", call.get("parameters"))
        if isinstance(arguments, str):
            return call[self.name], as_json(arguments)
        return call[self.name], orjson.dumps({} if arguments is None else arguments).decode()


USUAL_KEYS: Final = Keys()


def text_of(written: str) -> str | None:
    """Return the string that is ``written`` in JSON; ``None`` if it is not valid JSON."""
    try:
        return str(orjson.loads(written))
    except orjson.JSONDecodeError:
        return None


_NUMBER: Final = "/[0-9]{1,4}/"
_BEFORE_OBJECT: Final = re.compile(r"[\s\[,;]*(?=\{)")
_NEXT_BARE: Final = re.compile(r"\s*[,;]?\s*(?=\{)")
_LIST_END: Final = re.compile(r"\s*\]")
_FIRST_KEYS: Final = tuple(f'{{"{key}"' for key in ("name", "type", "function", "parameters", "arguments", "id"))
_SLOT: Final = re.compile(r"\{(call|name|number|arguments)\}")


@dataclass(frozen=True, kw_only=True)
class ObjectForm(CallForm):
    """Calls as JSON objects.

    Args:
        shape: a call that is demanded. ``{call}`` is an object with name and arguments; else it has ``{name}`` and
            ``{arguments}``. ``{number}`` is the number of the call in the conversation.
        keys: of that object.
        header: what stands before the arguments where the name does, with a group ``name``.
        again: what begins another call before ``closing``.
        is_bare: an answer may begin with the object itself.
    """

    shape: str
    keys: Keys = USUAL_KEYS
    header: str = ""
    again: str = "{"
    is_bare: bool = False

    @cached_property
    def head(self) -> re.Pattern[str]:
        """The text before the arguments, with the name in JSON or unquoted."""
        return re.compile(f"(?:{self.keys.head})|(?:{self.header})" if self.header else self.keys.head)

    def may_start_unmarked(self, text: str) -> bool:
        return self.is_bare and _may_be_call(text)

    def parser(self, calling: ToolCallFormat, opening: str, index: int) -> CallParser:
        return ObjectParser(calling, opening, index, self)

    def grammar(self, tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
        literals = Literals(self.markers, vocabulary)
        parts = _SLOT.split(self.shape)

        def rules_of(name: str, function: Mapping[str, Any]) -> list[str]:
            arguments, definitions = arguments_schema(function)
            slots: Mapping[str, Callable[[], str]] = {
                "call": lambda: json_value(self.keys.schema(function)),
                "arguments": lambda: json_value({**definitions, **arguments}),
                "name": lambda: literals.of(function["name"]),
                "number": lambda: _NUMBER,
            }
            rules = {f"{name}_{slot}": slots[slot]() for slot in parts[1::2]}
            body = [f"{name}_{part}" if number % 2 else literals.of(part) for number, part in enumerate(parts) if part]
            return [f"{name}: {' '.join(body)}", *(f"{rule}: {what}" for rule, what in rules.items())]

        return choice(tools, rules_of)


class ObjectParser(CallParser):
    """Parses calls of an :class:`ObjectForm`."""

    def __init__(self, calling: ToolCallFormat, opening: str, index: int, form: ObjectForm) -> None:
        super().__init__(calling, opening, index)
        self._form = form
        self._arguments: ObjectEnd | None = None
        self._around: ObjectEnd | None = None  # what follows the arguments in the object of the call
        self._object: tuple[ObjectEnd, int] | None = None  # a call in another order, and how far it has been read
        self._is_between = False

    def finish(self) -> str:
        if self._arguments is not None or self._around is not None:
            return ""
        waiting = self._waiting if self._waiting.strip(" \n\t,;]") else ""
        if self._is_between:
            return "" if self._form.closing else waiting
        return "" if self._has_called and not waiting else self._unread(self._waiting)

    def _advance(self) -> bool:
        if self._arguments is not None:
            return self._read_arguments(self._arguments)
        if self._around is not None:
            return self._read_around(self._around)
        return self._read_between() if self._is_between else self._read_head()

    def _read_head(self) -> bool:
        head = self._form.head.match(self._waiting)
        if head is not None and (name := _name_in(head)) is not None:
            in_object = head["json"] is not None
            if self._opening or self._calling.has(name):
                self._begin(name)
                self._waiting, self._object = self._waiting[head.end() :], None
                self._arguments, self._around = ObjectEnd(), ObjectEnd(depth=1) if in_object else None
                return True
        if (end := self._object_end()) is not None:
            return self._read_object(end)
        if self._form.closing:
            return self._read_no_call()
        if self._form.is_bare and not _may_be_call(self._waiting):
            self._give_up(self._waiting, "")
        return False

    def _object_end(self) -> int | None:
        """Return the end of the waiting object; ``None`` if it is incomplete, or there is none."""
        before = _BEFORE_OBJECT.match(self._waiting)
        if before is None:
            return None
        found, position = self._object or (ObjectEnd(), before.end())
        position += found.find(self._waiting[position:])
        self._object = (found, position)
        return position if found.is_reached else None

    def _read_object(self, end: int) -> bool:
        """Read a call whose JSON is not in the usual order or form."""
        before = _BEFORE_OBJECT.match(self._waiting)
        call = self._form.keys.call_in(self._waiting[before.end() if before else 0 : end])
        self._object = None
        if call is None or not (self._opening or self._calling.has(call[0])):
            if self._form.closing:
                self._object = (ObjectEnd(), len(self._waiting))  # all up to the closing marker is none
                return self._read_no_call()
            self._give_up(self._waiting[:end], self._waiting[end:])
            return False
        self._begin(*call)
        self._waiting, self._is_between = self._waiting[end:], True
        return True

    def _read_no_call(self) -> bool:
        inside, closing, rest = self._waiting.partition(self._form.closing)
        if closing:
            self._give_up(inside + closing, rest)
        return False

    def _read_arguments(self, arguments: ObjectEnd) -> bool:
        written, length = arguments.read(self._waiting)
        self._go_on(written)
        self._waiting = self._waiting[length:]
        if arguments.is_reached:
            self._arguments, self._is_between = None, True
        return arguments.is_reached

    def _read_around(self, around: ObjectEnd) -> bool:
        self._waiting = self._waiting[around.find(self._waiting) :]
        if around.is_reached:
            self._around = None
        return around.is_reached

    def _read_between(self) -> bool:
        if self._form.closing:
            return self._read_up_to_closing()
        if (end := _LIST_END.match(self._waiting)) is not None:
            self.rest = self._waiting[end.end() :]
        elif self._calling.one_call:
            self.rest = self._waiting
        elif (following := _NEXT_BARE.match(self._waiting)) is not None:
            self._waiting, self._is_between = self._waiting[following.end() :], False
            return True
        elif self._waiting.strip(" \n\t,;"):
            self.rest = self._waiting
        return False

    def _read_up_to_closing(self) -> bool:
        end, again = self._waiting.find(self._form.closing), self._waiting.find(self._form.again)
        if again >= 0 and (end < 0 or again < end):
            if self._calling.one_call:
                self.rest = ""
                return False
            self._waiting, self._is_between = self._waiting[again:], False
            return True
        if end >= 0:
            self.rest = self._waiting[end + len(self._form.closing) :]
        return False


def _may_be_call(text: str) -> bool:
    """Return whether an object that is a call may begin with ``text``, which may still be short."""
    squeezed = "".join(text.lstrip(" \n\t[,;")[:64].split())
    return any(key.startswith(squeezed) or squeezed.startswith(key) for key in _FIRST_KEYS)


def _name_in(head: re.Match[str]) -> str | None:
    """Return the name in the text before the arguments; ``None`` if it is not valid JSON."""
    return head["name"] if head["json"] is None else text_of(head["json"])
