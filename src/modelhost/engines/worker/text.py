"""From text to tokens and back.

Tokens become text piece by piece, and no character is split. In the contents of a conversation no special token begins:
the template needs the contents as they are, and the tokenizer has to know what of its prompt is template. So each name
of a special token in the contents is marked before the template gets them, and the marks are taken out before they are
tokenized: the tokens are those of the text itself.
"""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import DecodeStream

from modelhost.engines.special_tokens import ANSWER_MARKS, ASSISTANT, ControlTokens, without_server_marks
from modelhost.engines.tool_calls.channels import CHANNEL, CHANNEL_MARKERS

REPLACEMENT: Final = "\ufffd"
BYTE_NAME: Final = re.compile(r"<0x([0-9A-F]{2})>")
"""A token that is a byte, in tokenizers that have such for what is not in their vocabulary."""


def _byte_of() -> Mapping[str, int]:
    """Return the bytes by the characters that stand for them in the names of tokens of byte-level BPE.

    https://github.com/openai/gpt-2/blob/master/src/encoder.py (``bytes_to_unicode``): the printable ones of Latin-1
    stand for themselves, the others are numbered from 256 on.
    """
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


BYTE_OF: Final = _byte_of()


class Vocabulary:
    """The vocabulary of a tokenizer of ``transformers``."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.backend = tokenizer.backend_tokenizer
        self._literal: Any = None
        self.added: dict[str, int] = tokenizer.get_added_vocab()
        special = set(tokenizer.all_special_ids)
        special |= {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.special = {name: number in special for name, number in self.added.items()}
        """The tokens that the tokenizer finds before all others, and whether each is a special token."""
        # These are part of the text even if the tokenizer counts them among its special tokens.
        shown = {*ANSWER_MARKS, *CHANNEL_MARKERS} if CHANNEL in self.added else ANSWER_MARKS
        self._hidden = frozenset(special - {self.added[marker] for marker in shown if marker in self.added})

    def encode(self, text: str, *, add_special: bool, parse_special: bool = True) -> list[int]:
        """Return the tokens of ``text``.

        Args:
            add_special: with the tokens that the model expects around a text.
            parse_special: parse the names of special tokens as such; otherwise they are ordinary text.
        """
        backend = self.backend if parse_special else self._literal_backend()
        ids: list[int] = backend.encode(text, add_special_tokens=add_special).ids
        return ids

    def decode(self, tokens: list[int]) -> str:
        text: str = self.backend.decode(tokens, skip_special_tokens=False)
        return text

    def piece(self, token: int) -> str:
        """Return the text of a single token within others; a part of a character becomes the replacement character."""
        alone = self.decode([token])
        # Decoders of SentencePiece take the blank from the beginning of a text.
        return self.decode([token, token]).removeprefix(alone) or alone

    def piece_bytes(self, token: int) -> bytes:
        """Return the bytes of a single token, which may be a part of a character."""
        piece = self.piece(token)
        if REPLACEMENT not in piece:
            return piece.encode()
        name: str = self.backend.id_to_token(token) or ""
        if found := BYTE_NAME.fullmatch(name):
            return bytes([int(found[1], 16)])
        own = bytes(BYTE_OF[char] for char in name if char in BYTE_OF)
        # Of another kind of tokenizer, or the character itself is meant, unless these bytes are read like that.
        return own if own.decode(errors="replace") == piece else piece.encode()

    def _literal_backend(self) -> Any:
        if self._literal is None:
            self._literal = copy.deepcopy(self.backend)
            self._literal.encode_special_tokens = True
        return self._literal

    def stream(self, shown: frozenset[str] = frozenset()) -> TextStream:
        """Return a stream of the text of an answer; ``shown`` are part of it even if they are special tokens."""
        return TextStream(self.backend, self._hidden - {self.added[each] for each in shown if each in self.added})


class TextStream:
    """The text of one answer, without special tokens."""

    def __init__(self, backend: Any, hidden: frozenset[int]) -> None:
        self._backend, self._hidden = backend, hidden
        self._stream = DecodeStream(skip_special_tokens=False)
        self._waiting: list[int] = []
        """Tokens since the last text: the beginning of a character."""

    def feed(self, token: int) -> str:
        """Return the text that ``token`` completes; empty in the middle of a character."""
        if token in self._hidden:
            return ""
        text = self._stream.step(self._backend, token) or ""
        self._waiting = [] if text else [*self._waiting, token]
        return text

    def finish(self) -> str:
        """Return the text of an incomplete character at the end of the answer, with U+FFFD for what is none."""
        waiting, self._waiting = self._waiting, []
        return str(self._backend.decode(waiting, skip_special_tokens=False)) if waiting else ""


MARK: Final = secrets.token_hex(8)
"""Unpredictable, and not changed by templates: lower-case ASCII letters and digits."""
PLACE: Final = f"<{secrets.token_hex(8)}>"
"""Replaces a special token in a text in which all their names are ordinary text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Literal:
    """A copy of a tokenizer that finds no special token but ``PLACE``, the token ``place``."""

    tokenizer: Tokenizer
    place: int
    names: re.Pattern[str]
    """The names of the tokens that it does not find, with the blanks that they absorb."""


class ContentTokenizer:
    """Tokenizes the conversations of requests for one model, in whose contents ``names`` are ordinary text."""

    def __init__(self, vocabulary: Vocabulary, names: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._names = frozenset(names)
        self._control_tokens = ControlTokens(names, mark=MARK) if names else None

    def marked(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the chat request ``body`` with marks, for the template."""
        return without_server_marks((self._control_tokens.neutralised(body) if self._control_tokens else None) or body)

    def marked_in_answers(self, body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """Return ``body``, which was :meth:`marked`, with a mark in each ``name`` in messages of the assistant, too.

        Other special tokens have a meaning there.
        """
        if name not in self._names:
            return body
        marked = f"{name[0]}{MARK}{name[1:]}"
        messages = [
            _replaced(message, name, marked) if message["role"] == ASSISTANT else message
            for message in body["messages"]
        ]
        return {**body, "messages": messages}

    def tokens(self, prompt: str, *, add_special: bool = False) -> list[int]:
        """Return the tokens of ``prompt``, rendered from a request that was :meth:`marked`.

        Args:
            add_special: with the tokens that the model expects around a text, which its own chat template writes
            itself.
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
        """Created when it is first needed, which takes as long as loading the tokenizer."""
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


def _replaced(value: Any, old: str, new: str) -> Any:
    """Return ``value``, of JSON, with ``new`` for ``old`` in its texts."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, Mapping):
        return {name: _replaced(each, old, new) for name, each in value.items()}
    return [_replaced(each, old, new) for each in value] if isinstance(value, list) else value


def _pattern(token: Mapping[str, Any]) -> str:
    before, after = (r"\s*" if token[side] else "" for side in ("lstrip", "rstrip"))
    return f"{before}({re.escape(token['content'])}){after}"
