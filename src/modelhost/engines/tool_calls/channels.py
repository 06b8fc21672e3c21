"""Answers in channels, with calls as messages to a tool (gpt-oss): OpenAI's harmony.

An answer continues ``<|start|>assistant``. It is a sequence of messages: a header, ``<|message|>``, the content, an end
marker. The channel ``analysis`` is reasoning, ``final`` and ``commentary`` are for the user, and a message whose
recipient, in any part of the header, is a tool of the request is a call.
https://github.com/openai/harmony/blob/main/docs/format.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelhost.engines.tool_calls.calls import CallForm, CallParser, ToolCallFormat, held_back
from modelhost.engines.tool_calls.grammar import Literals, arguments_schema, choice, json_value
from modelhost.engines.tool_calls.json_end import ObjectEnd

CHANNEL, START, MESSAGE = "<|channel|>", "<|start|>", "<|message|>"
ANALYSIS: Final = f"{CHANNEL}analysis{MESSAGE}"
CONSTRAIN: Final = "<|constrain|>"
ENDS: Final = ("<|end|>", "<|call|>", "<|return|>")
CHANNEL_MARKERS: Final = frozenset({CHANNEL, START, MESSAGE, CONSTRAIN, *ENDS})
_NEXT: Final = (*ENDS, START, CHANNEL)
"""Markers before which a message ends."""
_BEGINNINGS: Final = (f"{START}assistant", CHANNEL, "to=functions.")
_CHANNEL: Final = re.compile(rf"{re.escape(CHANNEL)}\s*(\w+)")
_RECIPIENT: Final = re.compile(r"\bto=([^\s<]+)")
_FUNCTION: Final = "functions."
_LONGEST_HEADER: Final = 256
"""Names of tools have 64 characters at most."""


@dataclass(frozen=True, kw_only=True)
class ChannelForm(CallForm):
    """Calls as messages in channels, with one parser for the whole answer."""

    @property
    def openings(self) -> tuple[str, ...]:
        return ()

    @property
    def markers(self) -> frozenset[str]:
        return CHANNEL_MARKERS

    def may_start_unmarked(self, text: str) -> bool:
        return _may_be_header(text)

    def parser(self, calling: ToolCallFormat, opening: str, index: int) -> CallParser:
        return ChannelParser(calling, opening, index)

    def grammar(self, tools: Sequence[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> str:
        literals = Literals(self.markers, vocabulary)

        def rules_of(name: str, function: Mapping[str, Any]) -> list[str]:
            arguments, definitions = arguments_schema(function)
            recipient = f"{_FUNCTION}{function['name']}"
            head = literals.of(f"{CHANNEL}commentary to={recipient} {CONSTRAIN}json{MESSAGE}")
            return [f"{name}: {head} {name}_arguments", f"{name}_arguments: {json_value({**definitions, **arguments})}"]

        return choice(tools, rules_of)


class ChannelParser(CallParser):
    """Parses an answer of a :class:`ChannelForm`; an answer that does not begin as one is left to other parsers."""

    def __init__(self, calling: ToolCallFormat, opening: str, index: int) -> None:
        super().__init__(calling, opening, index)
        self._header = ""  # of a call whose arguments have not begun
        self._name = ""  # of that call
        self._arguments: ObjectEnd | None = None
        self._is_in_message = self._is_behind_call = self._has_said = False
        self._has_begun = False
        self._gap = ""  # before the next text

    def finish(self) -> str:
        is_header = not self._is_in_message and self._waiting.lstrip()[:1] in {"", "<"}
        if self._arguments is not None or (self._has_begun and is_header):
            return ""
        if self._is_behind_call and any(mark.startswith(self._waiting) for mark in _NEXT):
            return ""
        return self._header + self._waiting

    def _advance(self) -> bool:
        if self._arguments is not None:
            return self._read_arguments(self._arguments)
        if self._name:
            return self._read_to_arguments()
        return self._read_message() if self._is_in_message else self._read_header()

    def _read_header(self) -> bool:
        beginning = self._waiting.lstrip()
        header, marker, rest = self._waiting.partition(MESSAGE)
        if not _may_be_header(beginning) or len(header) > _LONGEST_HEADER:
            self.rest = self._waiting
            return False
        if not marker:
            return False
        self._waiting, self._is_in_message, self._is_behind_call = rest, True, False
        self._has_begun = True
        if (recipient := _RECIPIENT.search(header)) is not None:
            self._address(header + marker, recipient[1])
        else:
            channel = _CHANNEL.search(header)
            self.is_thinking = channel is not None and channel[1] == "analysis"
        return True

    def _address(self, header: str, recipient: str) -> None:
        """Begin a message to ``recipient``: a call, or text if that is not a tool of the request."""
        self.is_thinking = False
        name = recipient.removeprefix(_FUNCTION)
        if recipient.startswith(_FUNCTION) and name and self._calling.tools:
            self._header, self._name = header, name
        else:
            self._say(header)

    def _read_to_arguments(self) -> bool:
        beginning = self._waiting.lstrip()
        if not beginning:
            return False
        if beginning.startswith("{"):
            self._begin(self._name)
            self._waiting, self._arguments = beginning, ObjectEnd()
        else:
            self._say(self._header)
        self._header = self._name = ""
        return True

    def _read_arguments(self, arguments: ObjectEnd) -> bool:
        written, length = arguments.read(self._waiting)
        self._go_on(written)
        self._waiting = self._waiting[length:]
        if not arguments.is_reached:
            return False
        self._arguments, self._is_behind_call = None, True
        if self._calling.one_call:
            self.rest = ""
        return True

    def _read_message(self) -> bool:
        """Parse the content of a message up to its end, or up to the next message."""
        found = min((mark for mark in _NEXT if mark in self._waiting), key=self._waiting.find, default=None)
        end = self._waiting.find(found) if found else len(self._waiting) - held_back(self._waiting, _NEXT)
        self._say(self._waiting[:end])
        self._waiting = self._waiting[end:]
        if found:
            self._waiting = self._waiting.removeprefix(found) if found in ENDS else self._waiting
            self._is_in_message = self.is_thinking = False
            self._gap = "\n\n" if self._has_said else ""
        return found is not None

    def _say(self, text: str) -> None:
        if self.is_thinking:
            self._thoughts.append(text)
        elif text and not (self._is_behind_call and text.isspace()):
            self._texts.append(self._gap + text)
            self._gap, self._has_said = "", True


def _may_be_header(text: str) -> bool:
    return any(each.startswith(text) or text.startswith(each) for each in _BEGINNINGS)
