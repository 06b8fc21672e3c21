"""The tokenizer: byte-level BPE of 1,024 entries under GPT-2's regex, and text to ids for training.

Merges never join a space or an underscore to letters and never cross from one digit, or camel-case part, to the next:
` Paris`, `"Paris` and `_paris` then share their pieces, and copying a word is copying its tokens.
"""

import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>")
MARKERS = tuple(f"<t{index}>" for index in range(1, 25))
SIZE = 1024
# The exception: words so frequent, and so rarely the start of another, that one token with the space saves a tenth.
SPACED = ("the", "your", "you", "that", "with", "and", "this", "what", "have")
PIECE = re.compile(r" ?[^\s\w]+| ?_+|[A-Z]?[a-z]+|[A-Z]+|\d|\w|\s")


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """The units inside which merges may be learnt."""
    for text in texts:
        yield from PIECE.findall(re.sub("|".join(map(re.escape, (*CONTROL, *TAGS, *MARKERS))), "\n", text))


def train(texts: Iterable[str]) -> Tokenizer:
    """Learns the merges from the texts. Ids: special tokens first, then bytes, then merges."""
    specials = [*CONTROL, *TAGS, *MARKERS]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - len(SPACED),
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(pieces(texts), trainer)
    learnt = json.loads(learner.to_str())["model"]
    vocab, merges = learnt["vocab"], [tuple(pair) for pair in learnt["merges"]]
    for word in SPACED:
        if word in vocab:
            merges.append(("Ġ", word))
            vocab["Ġ" + word] = len(vocab)
    return assemble(vocab, merges)


def assemble(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """The tokenizer as it is used, saved and exported."""
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in (*TAGS, *MARKERS)])
    return tokenizer


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


class Encoder:
    """Text to ids, with the reply mask; splits punctuation at random, as an engine's grammar may."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocab = tokenizer.get_vocab()
        self.start, self.end = vocab["<|im_start|>"], vocab["<|im_end|>"]
        self.header = tokenizer.encode("<|im_start|>assistant\n").ids
        self.naming = tokenizer.encode('{"name": "').ids
        self.no_tool, self.call = vocab["</tools>"], vocab["<tool_call>"]
        self.markers = [vocab[marker] for marker in MARKERS]
        self.splits = {
            index: [vocab[char] for char in text]
            for text, index in vocab.items()
            if len(text) > 1 and text not in (*CONTROL, *TAGS, *MARKERS) and not any(c.isalnum() for c in text)
        }

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode(self, text: str, rng: random.Random | None = None) -> tuple[list[int], list[bool]]:
        """Ids and, for each, whether it belongs to a reply (its `<|im_end|>` included). With `rng`, augmented."""
        ids = self.ids(text)
        if rng and rng.random() < 0.5:
            ids = self._renumber(ids, rng)
        if rng and rng.random() < 0.15:
            ids = [part for i in ids for part in (self.splits[i] if i in self.splits and rng.random() < 0.4 else [i])]
        mask, inside, width = [False] * len(ids), False, len(self.header)
        for index, token in enumerate(ids):
            mask[index] = inside
            if inside and token == self.end:
                inside = False
            elif not inside and ids[max(0, index + 1 - width) : index + 1] == self.header:
                inside = True
        return ids, mask

    def weights(self, ids: list[int], mask: list[bool]) -> list[float]:
        """How much each token of a reply counts: four times where something is decided, 0 outside of replies.

        Decisions are a reply's first token (call or text) and the first two of a tool's name (which tool).
        """
        found = [float(inside) for inside in mask]
        width = len(self.naming)
        for index in range(1, len(ids)):
            if mask[index] and not mask[index - 1]:
                found[index] = 4.0
            if mask[index] and ids[max(0, index - width) : index] == self.naming:
                found[index : index + 2] = [4.0, 4.0]
        return found

    def hints(self, ids: list[int], mask: list[bool]) -> list[tuple[int, int, float]]:
        """Extra targets `(index, token, weight)` in the header of each reply of a dialogue with tools: the line meant.

        At `assistant` the marker of the first call's tool, at the `<|im_start|>` before it the last one's; `</tools>`
        where the reply calls nothing. A server never asks for these tokens: they teach the choice without waiting for
        it to show in the spelling of a name.
        """
        if self.no_tool not in ids:
            return []
        lines = self._lines(ids)
        found, width = [], len(self.naming)
        for index in range(1, len(ids)):
            if not mask[index] or mask[index - 1]:
                continue
            end = next((i for i in range(index, len(ids)) if not mask[i]), len(ids))
            named = [i for i in range(index + width, end) if ids[i - width : i] == self.naming]
            calls = [lines.get(self._text_until(ids, i, '"')) for i in named]
            if self.call in ids[index:end]:
                if calls and None not in calls:
                    found += [(index - 2, calls[0], 2.0), (index - 3, calls[-1], 2.0)]
            else:
                found.append((index - 2, self.no_tool, 1.0))
        return found

    def _lines(self, ids: list[int]) -> dict[str, int]:
        """The marker of each tool's line, by the tool's name."""
        before = ids[: ids.index(self.no_tool)]
        starts = [i for i, token in enumerate(before) if token in self.markers]
        return {re.split(r":| \{", self._text_until(ids, i + 1, "{"))[0]: ids[i] for i in starts}

    def _text_until(self, ids: list[int], start: int, stop: str) -> str:
        """The text from a token on, up to a character."""
        text, at = "", start
        while stop not in text and at < len(ids):
            text += self.tokenizer.decode(ids[at : at + 8], skip_special_tokens=False)
            at += 8
        return text.split(stop)[0]

    def _renumber(self, ids: list[int], rng: random.Random) -> list[int]:
        """Other line markers than 1, 2, 3: so that short lists of tools teach the markers of long ones."""
        used = [i for i in self.markers if i in ids]
        table = dict(zip(used, rng.sample(self.markers, len(used)), strict=True))
        return [table.get(i, i) for i in ids]
