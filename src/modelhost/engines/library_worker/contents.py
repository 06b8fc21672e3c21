"""The contents of a conversation as text: no special token begins in what users and tools write.

The template needs the contents as they are, and the tokenizer has to know what of its prompt is template. So each name
of a special token in the contents is marked before the template gets them, and the marks are taken out before they are
tokenized: the tokens are those of the text itself.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson
from tokenizers import AddedToken, Tokenizer

from modelhost.engines.control_tokens import ControlTokens, without_origins
from modelhost.engines.library_worker.text import Vocabulary

MARK: Final = secrets.token_hex(8)
"""Nobody else can write it, and no template changes it: letters of ASCII, in small ones."""
PLACE: Final = f"<{secrets.token_hex(8)}>"
"""Stands for a special token where the names of all of them are text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Literal:
    """A copy of a tokenizer that finds no special token but ``PLACE``, the token ``place``."""

    tokenizer: Tokenizer
    place: int
    names: re.Pattern[str]
    """Those of the tokens that it does not find, with the blanks that they swallow."""


class Contents:
    """Those of the requests for one model, in which ``names`` are text."""

    def __init__(self, vocabulary: Vocabulary, names: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._names = frozenset(names)
        self._control_tokens = ControlTokens(names, mark=MARK) if names else None

    def marked(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the chat request ``body`` as the template gets it."""
        return without_origins((self._control_tokens.neutralised(body) if self._control_tokens else None) or body)

    def tokens(self, prompt: str, *, add_special: bool = False) -> list[int]:
        """Return the tokens of ``prompt``, made of a request that was :meth:`marked`.

        Args:
            add_special: with those that the model wants around a text; a chat template has written them already.
        """
        if MARK not in prompt:
            return self._vocabulary.encode(prompt, add_special=add_special)
        literal, meant = self._literal, list[int]()

        def placed(found: re.Match[str]) -> str:
            meant.append(self._vocabulary.added[found[found.lastindex or 0]])
            return PLACE

        text = literal.names.sub(placed, prompt).replace(MARK, "")
        numbers = iter(meant)
        tokens = literal.tokenizer.encode(text, add_special_tokens=add_special).ids
        return [next(numbers) if token == literal.place else token for token in tokens]

    @cached_property
    def _literal(self) -> _Literal:
        """Made when it is first needed: it takes as long as the tokenizer took to load."""
        described = orjson.loads(self._vocabulary.backend.to_str())
        tokens = [token for token in described["added_tokens"] if token["content"] in self._names]
        for token in tokens:
            token["special"] = True
        tokenizer = Tokenizer.from_str(orjson.dumps(described).decode())
        tokenizer.encode_special_tokens = True
        tokenizer.add_tokens([AddedToken(PLACE, normalized=False)])
        place = tokenizer.token_to_id(PLACE)
        assert place is not None
        longest_first = sorted(tokens, key=lambda token: len(token["content"]), reverse=True)
        return _Literal(
            tokenizer=tokenizer,
            place=place,
            names=re.compile("|".join(map(_pattern, longest_first))),
        )


def _pattern(token: Mapping[str, Any]) -> str:
    before, after = (r"\s*" if token[side] else "" for side in ("lstrip", "rstrip"))
    return f"{before}({re.escape(token['content'])}){after}"
