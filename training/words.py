"""Pools of words: one set to learn from and a disjoint one to be tested on.

Half of the names and nouns in the dialogues are invented, so that a word must be copied and cannot be remembered.
"""

import random
import string
from dataclasses import dataclass, field

from training.data import terms

_LISTS = terms("words.txt")

_TERMS = terms()
ONSETS, VOWELS = _TERMS["onsets"], _TERMS["vowels"]
CODAS = ["" if coda == "-" else coda for coda in _TERMS["codas"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """The words that one kind of dialogue (training or held-out) may use."""

    is_test: bool
    names: list[str]
    cities: list[str]
    nouns: list[str]
    verbs: list[list[str]]
    parameters: list[str]
    words: list[str]
    made_up: float = field(default=0.5)


def _pools(prefix: str, is_test: bool) -> Pools:
    return Pools(
        is_test=is_test,
        names=_LISTS[f"{prefix}names"],
        cities=[city.replace("_", " ") for city in _LISTS[f"{prefix}cities"]],
        nouns=_LISTS[f"{prefix}nouns"],
        # Near-synonyms stand in one group: a request may use another verb of the group than the tool's name does.
        verbs=[group.split("/") for group in _LISTS[f"{prefix}verbs"]],
        parameters=_LISTS[f"{prefix}parameters"],
        words=_LISTS[f"{prefix}words"],
    )


TRAINING = _pools("", is_test=False)
HELD_OUT = _pools("unseen ", is_test=True)


def invented(rng: random.Random, pools: Pools) -> str:
    """A pronounceable word of no language. The two pools never share one: a checksum of the letters decides."""
    while True:
        parts = [
            rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice((1, 1, 2, 2, 2)))
        ]
        word = "".join(parts)
        if rng.random() < 0.12:
            word = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 7)))
        if len(word) >= 3 and (sum(word.encode()) % 8 == 0) == pools.is_test:
            return word


def pick(rng: random.Random, pools: Pools, words: list[str]) -> str:
    """A word of the list, or an invented one as often as `pools.made_up` says."""
    return invented(rng, pools) if rng.random() < pools.made_up else rng.choice(words)
