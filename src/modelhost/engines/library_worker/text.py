"""From tokens to text, piece by piece, no character split."""

from __future__ import annotations

import copy
from typing import Any

from tokenizers.decoders import DecodeStream

from modelhost.engines.library_worker.answer_marks import ANSWER_MARKS
from modelhost.engines.library_worker.channels import CHANNEL, CHANNEL_MARKERS


class Vocabulary:
    """What the worker asks of a tokenizer of ``transformers``."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.backend = tokenizer.backend_tokenizer
        self._literal: Any = None
        self.added: dict[str, int] = tokenizer.get_added_vocab()
        special = set(tokenizer.all_special_ids)
        special |= {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special = {name: number in special for name, number in self.added.items()}
        """The tokens that are found in a text before all others, and whether each is a special one."""
        # These are part of the text even where a tokenizer counts them among its special tokens.
        shown = {*ANSWER_MARKS, *CHANNEL_MARKERS} if CHANNEL in self.added else ANSWER_MARKS
        self._hidden = frozenset(special - {self.added[marker] for marker in shown if marker in self.added})

    def encode(self, text: str, *, add_special: bool, parse_special: bool = True) -> list[int]:
        """Return the tokens of ``text``.

        Args:
            add_special: with those that the model wants around a text.
            parse_special: the names of special tokens mean those; otherwise they are text like any other.
        """
        backend = self.backend if parse_special else self._literal_backend()
        ids: list[int] = backend.encode(text, add_special_tokens=add_special).ids
        return ids

    def decode(self, tokens: list[int]) -> str:
        text: str = self.backend.decode(tokens, skip_special_tokens=False)
        return text

    def piece(self, token: int) -> str:
        """Return the text of one token by itself; a part of a character becomes the replacement character."""
        return self.decode([token])

    def _literal_backend(self) -> Any:
        if self._literal is None:
            self._literal = copy.deepcopy(self.backend)
            self._literal.encode_special_tokens = True
        return self._literal

    def stream(self, shown: frozenset[str] = frozenset()) -> TextStream:
        """Return the text of an answer, of which ``shown`` are a part even where they are special tokens."""
        return TextStream(self.backend, self._hidden - {self.added[each] for each in shown if each in self.added})


class TextStream:
    """The text of one answer. Special tokens are no part of it."""

    def __init__(self, backend: Any, hidden: frozenset[int]) -> None:
        self._backend, self._hidden = backend, hidden
        self._stream = DecodeStream(skip_special_tokens=False)

    def feed(self, token: int) -> str:
        """Return the text that ``token`` completes; empty in the middle of a character."""
        if token in self._hidden:
            return ""
        return self._stream.step(self._backend, token) or ""
