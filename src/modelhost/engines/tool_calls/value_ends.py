"""The end of the value of an argument between tags, whose closing tag a model sometimes omits.

Then the value ends where another argument of the tool begins, or the call ends, as in the models' own parsers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

_NAMES: Final = re.compile(r"\\\{(?:name|key)\\\}")
_NAME: Final = r'[^\s<>"]+'
_INDENT: Final = r"[ \t]{0,32}"
_BLANK: Final = r"\s*"


class ValueEnds:
    """The ends of the values of one form of calls.

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
