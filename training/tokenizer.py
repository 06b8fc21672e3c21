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
SIZE = 1024
# The exception: words so frequent, and so rarely the start of another, that one token with the space saves a tenth.
SPACED = ("the", "your", "you", "that", "with", "and", "this", "what", "have")
PIECE = re.compile(r" ?[^\s\w]+| ?_+|[A-Z]?[a-z]+|[A-Z]+|\d|\w|\s")


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """The units inside which merges may be learnt."""
    for text in texts:
        yield from PIECE.findall(re.sub("|".join(map(re.escape, (*CONTROL, *TAGS))), "\n", text))


def train(texts: Iterable[str]) -> Tokenizer:
    """Learns the merges from the texts. Ids: special tokens first, then bytes, then merges."""
    specials = [*CONTROL, *TAGS]
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
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in TAGS])
    return tokenizer


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


class Encoder:
    """Text to ids, and how much each id counts; splits punctuation at random, as an engine's grammar may."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocab = tokenizer.get_vocab()
        self.end = vocab["<|im_end|>"]
        self.header = tokenizer.encode("<|im_start|>assistant\n").ids
        self.naming = tokenizer.encode('{"name": "').ids
        self.splits = {
            index: [vocab[char] for char in text]
            for text, index in vocab.items()
            if len(text) > 1 and text not in (*CONTROL, *TAGS) and not any(c.isalnum() for c in text)
        }

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode(self, text: str, rng: random.Random) -> tuple[list[int], list[float]]:
        """Ids and their weights as targets: 0 outside of replies. In one text of seven, some punctuation is split."""
        ids = self.ids(text)
        weights = self._weights(ids)
        if rng.random() > 0.15:
            return ids, weights
        parts = [self.splits[i] if i in self.splits and rng.random() < 0.4 else [i] for i in ids]
        spread = [weight for weight, part in zip(weights, parts, strict=True) for _ in part]
        return [i for part in parts for i in part], spread

    def _weights(self, ids: list[int]) -> list[float]:
        """How much each token counts: 0 outside of replies, 4 where something is decided, else 1.

        A reply ends with its `<|im_end|>`. Decisions are its first token (call or text) and the first two of a tool's
        name (which tool).
        """
        weights, inside = [0.0] * len(ids), False
        for index, token in enumerate(ids):
            if inside:
                is_first = weights[index - 1] == 0
                is_name = any(ids[max(0, at - len(self.naming)) : at] == self.naming for at in (index, index - 1))
                weights[index] = 4.0 if is_first or is_name else 1.0
                inside = token != self.end
            elif ids[max(0, index + 1 - len(self.header)) : index + 1] == self.header:
                inside = True
        return weights
