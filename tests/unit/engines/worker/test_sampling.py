"""Which token is chosen, on scores that are known."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from modelhost.engines.worker.sampling import NoTokenAllowed, Sampler, Sampling

SHARES = np.array([0.5, 0.25, 0.15, 0.1], np.float64)
SCORES = np.log(SHARES).astype(np.float32)


def _drawn(count: int = 400, **sampling: Any) -> Counter[int]:
    sampler = Sampler(Sampling(**{"seed": 1, **sampling}), ())
    return Counter(sampler.choose(SCORES).token for _ in range(count))


def test_tokens_are_drawn_as_often_as_their_shares_say() -> None:
    drawn = _drawn(20_000)
    for token, share in enumerate(SHARES):
        assert drawn[token] / 20_000 == pytest.approx(share, abs=0.02)


def test_the_temperature_moves_the_shares() -> None:
    expected = SHARES**2 / (SHARES**2).sum()
    drawn = _drawn(20_000, temperature=0.5)
    for token, share in enumerate(expected):
        assert drawn[token] / 20_000 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        ({"temperature": 0.0}, {0}),
        ({"top_k": 2}, {0, 1}),
        ({"top_k": 100}, {0, 1, 2, 3}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.51}, {0, 1}),
        ({"top_p": 0.0}, {0}),
        ({"min_p": 0.29}, {0, 1, 2}),
        ({"min_p": 1.0}, {0}),
        ({"min_p": 1.0, "min_tokens_to_keep": 3}, {0, 1, 2}),
        ({"top_p": 0.1, "min_tokens_to_keep": 2}, {0, 1}),
        ({"top_k": 3, "top_p": 0.8}, {0, 1}),  # of what top_k leaves: 0.56, 0.28, 0.17
        ({"logit_bias": {0: -100.0}}, {1, 2, 3}),
        ({"logit_bias": {3: 100.0}}, {3}),
    ],
)
def test_what_is_cut_off_is_never_drawn(sampling: dict[str, Any], left: set[int]) -> None:
    assert set(_drawn(**sampling)) == left


@pytest.mark.promise("llm-server.config.min-tokens-to-keep")
def test_min_tokens_to_keep_reaches_what_is_very_unlikely() -> None:
    scores = np.array([100.0, 0.0, -50.0], np.float32)
    sampler = Sampler(Sampling(min_p=1.0, min_tokens_to_keep=2, temperature=1e6, seed=1), ())
    assert {sampler.choose(scores).token for _ in range(50)} == {0, 1}


@pytest.mark.parametrize("top_p", [0.3, 0.9])
def test_a_large_flat_vocabulary_is_cut_where_it_should_be(top_p: float) -> None:
    scores = np.linspace(0, 0.001, 5000, dtype=np.float32)
    sampler = Sampler(Sampling(top_p=top_p, seed=1), ())
    drawn = [sampler.choose(scores).token for _ in range(500)]
    assert min(drawn) >= 5000 * (1 - top_p) - 2
    assert min(drawn) < 5000 * (1 - top_p) + 100
    assert max(drawn) > 4900


def test_the_seed_decides() -> None:
    def tokens(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(seed=seed), ())
        return [sampler.choose(SCORES).token for _ in range(40)]

    assert tokens(7) == tokens(7)
    assert tokens(7) != tokens(8)
    assert tokens(None) != tokens(None)


def test_penalties_count_what_was_written_and_the_repetition_penalty_the_prompt_too() -> None:
    flat = np.array([1.0, 0.9, 0.8], np.float32)

    def greedy(count: int, prompt: tuple[int, ...] = (), **sampling: float) -> list[int]:
        sampler = Sampler(Sampling(temperature=0.0, **sampling), prompt)  # type: ignore[arg-type]
        return [sampler.choose(flat).token for _ in range(count)]

    assert greedy(4) == [0, 0, 0, 0]
    assert greedy(4, presence_penalty=1.0) == [0, 1, 2, 0]
    assert greedy(4, frequency_penalty=0.15) == [0, 1, 0, 2]
    assert greedy(1, prompt=(0,), presence_penalty=1.0) == [0]
    assert greedy(1, prompt=(0,), repetition_penalty=2.0) == [1]


def test_the_scores_are_left_as_they_are() -> None:
    scores = SCORES.copy()
    scores.flags.writeable = False
    Sampler(Sampling(logit_bias={1: 5.0}, frequency_penalty=1.0, repetition_penalty=1.5), (1,)).choose(scores)
    np.testing.assert_array_equal(scores, SCORES)


def test_the_end_is_never_chosen_where_it_is_to_be_ignored() -> None:
    sampler = Sampler(Sampling(temperature=0.0, ignore_eos=True), (), eos_ids=frozenset({0}))
    assert sampler.choose(SCORES).token == 1


def test_log_probabilities_are_those_of_the_model() -> None:
    sampler = Sampler(Sampling(temperature=0.0, top_logprobs=2, logit_bias={3: 100.0}), ())
    choice = sampler.choose(SCORES)
    assert choice.token == 3
    assert choice.logprob == pytest.approx(np.log(0.1), abs=1e-6)
    assert [token for token, _ in choice.top] == [0, 1]
    assert choice.top[0][1] == pytest.approx(np.log(0.5), abs=1e-6)
    assert Sampler(Sampling(top_logprobs=0), ()).choose(SCORES).top == ()


class _Only:
    """Allows one token, in a vocabulary that is smaller than the model's, and is complete afterwards."""

    def __init__(self, token: int) -> None:
        self._token = token
        self.is_complete = False

    def allowed(self) -> Any:
        mask = np.zeros(3, np.bool_)
        mask[self._token] = True
        return mask

    def accept(self, token: int) -> None:
        self.is_complete = token == self._token


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("scores", "says"), [([np.nan, 1.0], "not numbers"), ([-np.inf, -np.inf], "not numbers")])
def test_scores_that_are_no_numbers_are_no_choice(temperature: float, scores: list[float], says: str) -> None:
    with pytest.raises(NoTokenAllowed, match=says):
        Sampler(Sampling(temperature=temperature), ()).choose(np.array(scores, np.float32))


def test_what_no_token_fits_is_no_choice() -> None:
    with pytest.raises(NoTokenAllowed, match="fits what its answer has to follow"):
        Sampler(Sampling(logit_bias=dict.fromkeys(range(4), -np.inf)), ()).choose(SCORES)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_constraint_is_stronger_than_anything(temperature: float) -> None:
    sampler = Sampler(Sampling(temperature=temperature, top_k=1, min_p=0.9), (), constraint=_Only(2))
    choice = sampler.choose(SCORES)
    assert (choice.token, choice.is_last) == (2, True)


def _written(least: int, **sampling: Any) -> list[int]:
    sampler = Sampler(
        Sampling(temperature=0, min_tokens=least, **sampling), (), eos_ids=frozenset({0}), stop_ids=frozenset({1})
    )
    return [sampler.choose(SCORES).token for _ in range(4)]


def test_what_ends_an_answer_comes_after_the_least_number_of_tokens() -> None:
    assert _written(0) == [0, 0, 0, 0]
    assert _written(2) == [2, 2, 0, 0]
    assert _written(2, ignore_eos=True) == [2, 2, 1, 1]


def test_an_answer_that_can_only_end_does_so_early() -> None:
    sampler = Sampler(Sampling(temperature=0, min_tokens=9), (), eos_ids=frozenset(range(4)))
    assert sampler.choose(SCORES).token == 0
