"""Batches: dialogues of like length side by side, positions with gaps, and where the replies are."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.lessons import lesson
from training.render import render_dialogue
from training.tokenizer import Encoder
from training.words import Pools

# Longer dialogues are left out: they would cost more than they teach.
LONGEST = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Ids and positions `(rows, length)`; `at` are flat indices whose next token, in `targets`, is part of a reply.

    `weights` say how much each of the targets counts.
    """

    ids: Tensor
    positions: Tensor
    at: Tensor
    targets: Tensor
    weights: Tensor


def split(batch: Batch, tokens: int) -> list[Batch]:
    """The batch in pieces of whole rows, of about `tokens` tokens each."""
    rows, length = batch.ids.shape
    step = max(1, round(tokens / length))
    pieces = []
    for first in range(0, rows, step):
        here = (batch.at >= first * length) & (batch.at < (first + step) * length)
        pieces.append(
            Batch(
                ids=batch.ids[first : first + step],
                positions=batch.positions[first : first + step],
                at=batch.at[here] - first * length,
                targets=batch.targets[here],
                weights=batch.weights[here],
            )
        )
    return pieces


def positions(rng: random.Random, length: int, context: int) -> list[int]:
    """0, 1, 2 ... or, for one row in five, with jumps, so that short dialogues teach distances up to the context."""
    if rng.random() > 0.2:
        return list(range(length))
    jumps = [rng.random() < 0.03 for _ in range(length)]
    room = rng.uniform(0.2, 1.0) * (context - length) / max(1, sum(jumps))
    out, at = [], 0
    for jump in jumps:
        at += int(rng.uniform(0, room)) if jump else 0
        out.append(at)
        at += 1
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One dialogue: ids, and the weight of each as a target."""

    ids: list[int]
    weights: list[float]


def collate(rows: list[Row], rng: random.Random, context: int) -> Batch:
    """Pads at the end: attention is causal, so padding is never seen."""
    length = -(-max(len(row.ids) for row in rows) // 8) * 8
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    counts = torch.zeros(len(rows), length)
    places = torch.zeros(len(rows), length, dtype=torch.long)
    following = torch.zeros(len(rows), length, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        following[index, : len(row.ids) - 1] = torch.tensor(row.ids[1:])
        counts[index, : len(row.ids) - 1] = torch.tensor(row.weights[1:])
        places[index] = torch.tensor(positions(rng, length, context))
    at = counts.flatten().nonzero().squeeze(1)
    return Batch(ids=ids, positions=places, at=at, targets=following.flatten()[at], weights=counts.flatten()[at])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An endless, seeded stream of batches of about `tokens` tokens, cut into chunks of about 16 batches."""

    encoder: Encoder
    pools: Pools
    tokens: int
    context: int

    def chunk(self, stage: str, number: int) -> Iterator[Batch]:
        """The batches of one chunk: dialogues sorted by length, so that little is padding, and the batches shuffled."""
        rng = random.Random(f"nano-{stage}-{number}-{self.pools.is_test}")
        rows, total = [], 0
        while total < 16 * self.tokens:
            ids, weights = self.encoder.encode(render_dialogue(lesson(rng, self.pools, stage)), rng)
            if len(ids) <= LONGEST and any(weights):
                rows.append(Row(ids=ids, weights=weights))
                total += len(ids)
        rows.sort(key=lambda row: len(row.ids))
        groups: list[list] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row.ids) > self.tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            yield collate(group, rng, self.context)
