"""Choosing the next token: one implementation for all libraries, on the scores of one conversation.

The order is llama.cpp's: bias, penalties, grammar, then ``top_k``, ``top_p`` and ``min_p`` on the probabilities
without temperature, then the draw with it. ``min_tokens_to_keep`` holds for ``top_p`` and ``min_p``. Presence and
frequency penalties count what has been written, as OpenAI defines them; the repetition penalty counts the prompt too
(https://arxiv.org/abs/1909.05858). Log probabilities are those of the model, before any of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modelhost.engines.worker.library import NOT_NUMBERS, Scores

NEGLIGIBLE = 24.0
"""A token whose score is lower than the best one by this much (times the temperature, if over 1) is not drawn: 200,000
of them together have less than a hundred-thousandth of the probability, and leaving them out saves most of the work."""


HEAD = 1024
"""The number of tokens that are sorted for ``top_p``, which nearly always suffices; sorting a large vocabulary is
slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The sampling parameters of a request. ``top_logprobs`` of ``None`` means no log probabilities at all."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    min_tokens_to_keep: int = 1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    top_logprobs: int | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    """The number of tokens before the answer may end."""


class Constraint(Protocol):
    """Constrains the tokens of a text."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        ...

    def allowed(self) -> NDArray[np.bool_] | None:
        """Return which tokens may come next, possibly for a part of the vocabulary only; ``None``: all."""
        ...

    def accept(self, token: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A token, with its log probability and the most likely alternatives if requested."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    is_last: bool = False
    """Whether the constraint allows nothing after it."""


class NoTokenAllowed(Exception):
    """No token can come next; the message has the reason."""


class Sampler:
    """Chooses the tokens of one answer."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        *,
        eos_ids: frozenset[int] = frozenset(),
        stop_ids: frozenset[int] = frozenset(),
        constraint: Constraint | None = None,
    ) -> None:
        self._sampling = sampling
        self._constraint = constraint
        self._random = np.random.default_rng(sampling.seed)
        self._bias = _bias(sampling, eos_ids)
        self._ends = sorted(eos_ids | stop_ids)
        self._left = sampling.min_tokens
        self._written: dict[int, int] = {}
        self._seen = set(prompt) if sampling.repetition_penalty != 1 else set()

    def choose(self, scores: Scores) -> Choice:
        """Return the next token after ``scores``, which are not changed.

        Raises:
            NoTokenAllowed: the scores are not numbers, or the constraint allows no token.
        """
        sampling = self._sampling
        adjusted = self._adjusted(scores)
        if self._left > 0:
            self._left -= 1
            adjusted = _without(adjusted, self._ends)
        if not np.isfinite(adjusted.max()):
            raise NoTokenAllowed(_reason(scores))
        token = self._draw(adjusted)
        self._written[token] = self._written.get(token, 0) + 1
        self._seen.add(token)
        is_last = False
        if self._constraint is not None:
            self._constraint.accept(token)
            is_last = self._constraint.is_complete
        if sampling.top_logprobs is None:
            return Choice(token=token, is_last=is_last)
        return scored_choice(scores, token, sampling.top_logprobs, is_last=is_last)

    def _adjusted(self, scores: Scores) -> Scores:
        sampling = self._sampling
        mask = self._constraint.allowed() if self._constraint is not None else None
        has_penalty = sampling.presence_penalty or sampling.frequency_penalty or sampling.repetition_penalty != 1
        if not self._bias and not has_penalty and mask is None:
            return scores
        scores = scores.astype(np.float32, copy=True)
        for token, bias in self._bias.items():
            if token < len(scores):
                scores[token] += bias
        if sampling.repetition_penalty != 1 and self._seen:
            seen = np.fromiter(self._seen, np.int64)
            found = scores[seen]
            penalty = np.float32(sampling.repetition_penalty)
            scores[seen] = np.where(found < 0, found * penalty, found / penalty)
        if (sampling.presence_penalty or sampling.frequency_penalty) and self._written:
            written = np.fromiter(self._written, np.int64)
            counts = np.fromiter(self._written.values(), np.float32)
            scores[written] -= sampling.presence_penalty + sampling.frequency_penalty * counts
        if mask is not None:
            scores[: len(mask)][~mask[: len(scores)]] = -np.inf
            scores[len(mask) :] = -np.inf
        return scores

    def _draw(self, scores: Scores) -> int:
        sampling = self._sampling
        if sampling.temperature == 0:
            return int(np.argmax(scores))
        tokens = _candidates(scores, sampling)
        heights = scores[tokens].astype(np.float64)
        heights -= heights.max()
        kept = _kept(heights, sampling)
        weights = np.exp(heights[kept] / sampling.temperature)
        cumulated = np.cumsum(weights)
        drawn = np.searchsorted(cumulated, self._random.random() * cumulated[-1], side="right")
        return int(tokens[kept][min(drawn, len(weights) - 1)])


def _without(scores: Scores, ends: Sequence[int]) -> Scores:
    """Return ``scores`` without ``ends``, unless nothing else may come because the constraint is complete."""
    others = scores.copy()
    others[[token for token in ends if token < len(scores)]] = -np.inf
    return others if np.isfinite(others.max()) else scores


def _reason(scores: Scores) -> str:
    if np.isfinite(scores.max()):
        return "nothing that the model can write fits what its answer has to follow"
    return NOT_NUMBERS


def _bias(sampling: Sampling, eos_ids: frozenset[int]) -> dict[int, float]:
    bias = dict(sampling.logit_bias)
    return bias | dict.fromkeys(eos_ids, -np.inf) if sampling.ignore_eos else bias


def _candidates(scores: Scores, sampling: Sampling) -> NDArray[np.int64]:
    """Return the tokens that can be drawn."""
    keep = min(sampling.min_tokens_to_keep, len(scores))
    if 0 < sampling.top_k < len(scores):
        tokens = np.argpartition(-scores, sampling.top_k - 1)[: sampling.top_k]
    else:
        tokens = np.flatnonzero(scores > scores.max() - NEGLIGIBLE * max(1.0, sampling.temperature))
        if len(tokens) < keep:
            tokens = np.argpartition(-scores, keep - 1)[:keep]
    return tokens[scores[tokens] > -np.inf]


def _kept(heights: NDArray[np.float64], sampling: Sampling) -> NDArray[np.int64]:
    """Return which of ``heights`` (the best is 0) remain after ``top_p`` and ``min_p``."""
    keep = min(sampling.min_tokens_to_keep, len(heights))
    lowest = np.log(sampling.min_p) if sampling.min_p > 0 else -np.inf
    if sampling.top_p >= 1:
        kept = np.flatnonzero(heights >= lowest)
        return kept if len(kept) >= keep else _best(heights, keep)
    wanted = sampling.top_p * np.exp(heights).sum()
    order = _best(heights, max(keep, HEAD))
    cumulated = np.cumsum(np.exp(heights[order]))
    if cumulated[-1] < wanted:
        order = _best(heights, len(heights))
        cumulated = np.cumsum(np.exp(heights[order]))
    count = int(np.searchsorted(cumulated, wanted)) + 1
    count = min(count, int(np.count_nonzero(heights[order] >= lowest)))
    return order[: max(count, 1, keep)]


def _best(heights: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the positions of the ``count`` highest values, in descending order."""
    if count >= len(heights):
        return np.argsort(-heights, kind="stable")
    part = np.argpartition(-heights, count - 1)[:count]
    return part[np.argsort(-heights[part], kind="stable")]


def scored_choice(scores: Scores, token: int, count: int, *, is_last: bool = False) -> Choice:
    """Return ``token`` with its log probability in ``scores``, and the ``count`` most likely tokens."""
    highest = scores.max()
    total = float(highest) + float(np.log(np.exp((scores - highest).astype(np.float64)).sum()))
    best = np.argpartition(-scores, min(count, len(scores) - 1))[:count]
    best = best[np.argsort(-scores[best], kind="stable")]
    top = tuple((int(each), float(scores[each]) - total) for each in best)
    return Choice(token=token, logprob=float(scores[token]) - total, top=top, is_last=is_last)
