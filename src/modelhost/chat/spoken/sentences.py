"""The sentences of a text that comes in pieces, each as soon as it is complete."""

from __future__ import annotations

import re
from typing import Final

SHORTEST: Final = 24
"""In characters: shorter sentences are spoken with the next one, because each begins anew."""
LONGEST: Final = 400
"""In characters: a text without an end of a sentence is spoken up to the last blank."""
END: Final = re.compile(r"""[.!?…]["'”’)\]]*(?=\s)|[。！？]|\n""")  # noqa: RUF001 (signs of other scripts)


class Sentences:
    """Splits a text; what it returns adds up to the text."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, text: str) -> list[str]:
        """Return the sentences that are complete with ``text``."""
        self._text += text
        found = []
        while (end := self._end()) is not None:
            found.append(self._text[:end])
            self._text = self._text[end:]
        return found

    def rest(self) -> str:
        """Return what is left at the end of the text."""
        rest, self._text = self._text, ""
        return rest

    def _end(self) -> int | None:
        ending = next((match for match in END.finditer(self._text) if match.end() >= SHORTEST), None)
        if ending is not None and ending.end() <= LONGEST:
            return ending.end()
        if len(self._text) <= LONGEST:
            return None
        blank = self._text.rfind(" ", SHORTEST, LONGEST)
        return LONGEST if blank < 0 else blank + 1
