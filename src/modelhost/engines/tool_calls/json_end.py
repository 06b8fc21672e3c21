"""Where a value ends in a text that comes in pieces: a JSON object, with corrections, or an argument between tags.

In JSON, models write unescaped line breaks in strings, and sometimes strings, booleans and null in Python's syntax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_FOREIGN: Final = re.compile(r"[\x00-\x1f']|True|False|None")
_WORD: Final = re.compile(r"[A-Za-z]+")
_ESCAPES: Final = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r"}
_PYTHON: Final = {"True": "true", "False": "false", "None": "null"}


class ObjectEnd:
    """Finds the brace that closes an object: one that begins the text, or ``depth`` objects that are already open."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._quote = ""  # of the open string
        self._changes: list[tuple[int, int, str]] = []  # of the last search: start, end, replacement
        self.is_reached = False

    def read(self, text: str) -> tuple[str, int]:
        """Return the part of ``text`` that belongs to the object, as JSON, and its original length.

        The end of ``text`` may be left for the next call: its meaning depends on what follows.
        """
        length = self.find(text)
        parts, start = list[str](), 0
        for begin, end, written in self._changes:
            parts += text[start:begin], written
            start = end
        return "".join([*parts, text[start:length]]), length

    def find(self, text: str) -> int:
        """Return the length of the part of ``text`` that is known to belong to the object."""
        self._changes.clear()
        position = 0
        while position < len(text) and not self.is_reached:
            step = self._in_text(text, position) if self._quote else self._outside(text, position)
            if not step:
                break
            position += step
        return position

    def _in_text(self, text: str, position: int) -> int:
        """Return the length of the element at ``position`` within a string; 0 if more text is needed."""
        character = text[position]
        if character == "\\":
            following = text[position + 1 : position + 2]
            if following == "'":
                self._change(position, 2, "'")
            elif following and following < " ":
                self._change(position, 2, _escape(following))
            return 2 if following else 0
        if character == self._quote:
            self._quote = ""
            if character == "'":
                self._change(position, 1, '"')
        elif character == '"' or character < " ":
            self._change(position, 1, _escape(character))
        return 1

    def _outside(self, text: str, position: int) -> int:
        character = text[position]
        if character in "\"'":
            self._quote = character
            if character == "'":
                self._change(position, 1, '"')
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.is_reached = self._depth == 0
        elif (word := _WORD.match(text, position)) is not None:
            if word.end() == len(text) and any(name.startswith(word[0]) for name in _PYTHON):
                return 0
            if word[0] in _PYTHON:
                self._change(position, len(word[0]), _PYTHON[word[0]])
            return len(word[0])
        return 1

    def _change(self, position: int, length: int, written: str) -> None:
        self._changes.append((position, position + length, written))


def as_json(text: str) -> str:
    """Return the object or array ``text`` as JSON; what does not belong to it is left unchanged."""
    if _FOREIGN.search(text) is None:
        return text
    written, length = ObjectEnd().read(text)
    return written + text[length:]


def _escape(character: str) -> str:
    return f"\\{character}" if character == '"' else f"\\{_ESCAPES.get(character, f'u{ord(character):04x}')}"


_NAMES: Final = re.compile(r"\\\{(?:name|key)\\\}")
_NAME: Final = r'[^\s<>"]+'
_INDENT: Final = r"[ \t]{0,32}"
_BLANK: Final = r"\s*"


class ValueEnds:
    """The ends of the values of one form of calls, with arguments between tags.

    A model sometimes omits the closing tag. Then the value ends where another argument of the tool begins, or the call
    ends, as in the models' own parsers.

    Args:
        own: the tag after a value.
        key: the text before an argument, with ``{key}``.
        call: the text after all arguments.
        following: what may follow that, unless the answer ends there.
        has_lines: values are on separate lines.
    """

    def __init__(self, *, own: str, key: str, call: str, following: Sequence[str], has_lines: bool) -> None:
        self._own, self._has_lines = own.strip(), has_lines
        self._marks = (key.partition("{")[0], call)
        line = rf"\n{'' if has_lines else '?'}{_INDENT}"
        call_end = rf"\n?{_INDENT}{re.escape(call)}"
        ahead = "|".join(map(re.escape, following))
        self._lost = re.compile(rf"{line}{pattern_of(key)}|{call_end}(?={_BLANK}(?:{ahead}))")
        self._last = re.compile(rf"{call_end}{_BLANK}(?:{'|'.join(map(_begun, map(_letters, following)))})\Z")
        begun = [
            _letters(self._own),
            _key_parts(key),
            *([*_letters(call), _BLANK, *_letters(each)] for each in following),
        ]
        self._undecided = re.compile(rf"\n?{_INDENT}(?:{'|'.join(map(_begun, begun))})\Z")

    def find(self, text: str, is_key: Callable[[str], bool]) -> tuple[int, int] | None:
        """Return the end of the value that begins ``text``, and the start of the rest; ``None`` if it is incomplete.

        ``is_key`` returns whether the tool has an argument of that name: other tags are part of the value.
        """
        end = text.find(self._own)
        if any(mark in text for mark in self._marks):
            for lost in self._lost.finditer(text, 0, len(text) if end < 0 else end):
                if lost[1] is None or is_key(lost[1]):
                    return lost.start(), lost.start()
        if end < 0:
            return None
        return end - (self._has_lines and text[:end].endswith("\n")), end + len(self._own)

    def held(self, text: str) -> int:
        """Return how many characters at the end of ``text`` may belong to its end."""
        found = self._undecided.search(text)
        return len(text) - found.start() if found is not None else 0

    def last(self, text: str) -> int | None:
        """Return the end of the value at the end of an answer, except for the end of its call; ``None`` if there is
        none."""
        found = self._last.search(text)
        return None if found is None else found.start()


def pattern_of(shape: str) -> str:
    """Return the regular expression of ``shape``: a name for a placeholder in braces, any blanks."""
    return _BLANK.join(_NAMES.sub(lambda _: f"({_NAME})", re.escape(part)) for part in shape.split())


def _key_parts(shape: str) -> list[str]:
    """Return the regular expressions of the characters of ``shape``."""
    parts: list[str] = []
    for part in shape.split():
        before, slot, after = part.partition("{key}")
        parts += [*_letters(before), *([_NAME] if slot else []), *_letters(after), _BLANK]
    return parts


def _letters(text: str) -> list[str]:
    return [re.escape(character) for character in text]


def _begun(parts: Iterable[str]) -> str:
    """Return the regular expression of any prefix of ``parts``."""
    pattern = ""
    for part in reversed([*parts]):
        pattern = f"(?:{part}{pattern})?"
    return pattern
