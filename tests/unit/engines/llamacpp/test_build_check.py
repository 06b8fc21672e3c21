"""When the scores of a build are those of the wheel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from modelhost.cli.engines.installation import bundled_model
from modelhost.config.environment import SERVER_VARIABLE
from modelhost.engines.launch import Ready
from modelhost.engines.llamacpp.build_check import (
    ANSWER_TOKENS,
    PROMPTS,
    ROUNDS,
    SERIES,
    TOLERANCE,
    Answer,
    are_contradictory,
    check,
    difference_of,
    distance_where_parted,
    factors_of,
)
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.errors import EngineMissing

WHEEL = {1: -0.1, 2: -2.5, 3: -6.0}


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (WHEEL, 0.0),
        ({1: -0.3, 2: -2.7, 3: -6.2}, 0.0),  # a shift of all logits changes no probability
        ({1: -0.1, 2: -2.504, 4: -6.0}, 0.002),  # the last one of the likeliest is another
        ({1: -0.1, 2: -2.54, 3: -6.04}, 0.02),
        ({1: -0.09, 2: -2.51, 3: -6.0}, 0.01),
        ({2: -0.1, 5: -0.2}, math.inf),
    ],
)
def test_the_difference_of_logits_leaves_out_a_shift_of_all(found: dict[int, float], difference: float) -> None:
    assert difference_of(WHEEL, found) == pytest.approx(difference)


def _answer(*tokens: int, second: float = -4.0) -> Answer:
    return Answer(tokens=tokens, scores=tuple({token: -0.5, 99: second, 98: -9.0} for token in tokens))


@pytest.mark.parametrize(
    ("found", "distance"),
    [
        (_answer(1, 2, 3), None),
        (_answer(1, 4, 3), 3.5),
        (_answer(1, 2), 3.5),  # it ends earlier
        (_answer(1, 2, 3, 4, second=-0.75), 0.25),  # it goes on
    ],
)
def test_where_answers_part_the_two_likeliest_tokens_decide(found: Answer, distance: float | None) -> None:
    assert distance_where_parted(_answer(1, 2, 3), found) == distance


class _Worker:
    """Answers every prompt with one token out of two, whose scores are ``apart``; ``scale`` is how quick it is."""

    def __init__(self, token: int = 1, *, apart: float = 2.0, scale: float = 1.0) -> None:
        self._scores = {1: -0.5 if token == 1 else -0.5 - apart, 2: -0.5 if token == 2 else -0.5 - apart}
        self._token, self._scale = token, scale

    @property
    def ready(self) -> Ready:
        return Ready(url="", features=("AVX2",))

    async def fetch(self, path: str, body: Mapping[str, Any]) -> Any:
        if path == "/apply-template":
            return {"prompt": body["messages"][0]["content"]}
        tops = [{"id": token, "logprob": score} for token, score in self._scores.items()]
        # As in the bundled model with AVX-512: what it has read makes its answers slow.
        answers = 10 * self._scale / len(body["prompt"]) ** self._scale
        timings = {"prompt_per_second": 100 * self._scale, "predicted_per_second": answers}
        return {"completion_probabilities": [{"id": self._token, "top_logprobs": tops}], "timings": timings}


async def test_a_build_that_does_as_the_wheel_does_passes() -> None:
    checked = await check(_Worker(), _Worker(scale=0.8), "native")
    assert (checked.scores_differ_by, checked.other_answers) == (0.0, {})
    assert checked.factors["prompts"] == 0.8


async def test_the_speed_of_answers_is_that_of_answers_to_a_short_prompt() -> None:
    checked = await check(_Worker(), _Worker(scale=1.2), "native")
    assert checked.factors == {"prompts": 1.2, "answers": round(1.2 / 8**0.2, 3)}


async def test_other_answers_are_named_with_the_tie_that_explains_them() -> None:
    apart = TOLERANCE / 2
    checked = await check(_Worker(1, apart=apart), _Worker(2, apart=apart), "native")
    assert checked.scores_differ_by == pytest.approx(apart)
    assert checked.other_answers == dict.fromkeys(PROMPTS, apart)


@pytest.mark.parametrize(
    ("built", "why"),
    [
        (_Worker(1, apart=2.5), r'its scores for "Hello!" differ from the wheel\'s by 0.25'),
        (_Worker(2, apart=2.0), r'its scores for "Hello!" differ from the wheel\'s by 2'),
    ],
)
async def test_a_build_with_other_scores_does_not_pass(built: _Worker, why: str) -> None:
    with pytest.raises(EngineMissing, match=why):
        await check(_Worker(), built, "native")


async def test_an_answer_that_no_tie_explains_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelhost.engines.llamacpp.build_check.difference_of", lambda *_: 0.0)
    with pytest.raises(EngineMissing, match=r'its answer to "Hello!" is not the wheel\'s, although .* 2 apart'):
        await check(_Worker(1), _Worker(2), "native")


def test_a_build_is_compared_with_the_wheel_at_the_same_time() -> None:
    def timed(prompt: float, predicted: float) -> dict[str, float]:
        return {"prompt_per_second": prompt, "predicted_per_second": predicted, "prompt_n": 512}

    rounds = [
        (timed(100, 10), timed(150, 11)),
        (timed(10, 1), timed(15, 1.1)),  # something else took the processor
        (timed(100, 10), timed(20, 30)),
    ]
    assert factors_of(rounds) == {"prompts": 1.5, "answers": 1.1}


def _pair(prompts: float, answers: float) -> tuple[dict[str, float], dict[str, float]]:
    wheel = {"prompt_per_second": 100.0, "predicted_per_second": 10.0}
    return wheel, {"prompt_per_second": 100.0 * prompts, "predicted_per_second": 10.0 * answers}


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([_pair(1.5, 1.1)] * 8, False),
        ([_pair(0.8, 0.9)] * 8, False),
        ([_pair(1.41, 0.37)] * 8, True),
        ([_pair(1.5, 1.1)] * 7 + [_pair(0.2, 0.2)], False),
        ([_pair(1.5, 1.1)] * 5 + [_pair(0.2, 0.2)] * 3, True),
    ],
)
def test_timings_that_leave_open_which_is_quicker_are_contradictory(
    pairs: list[tuple[dict[str, float], dict[str, float]]], *, expected: bool
) -> None:
    assert are_contradictory(pairs) is expected


class _Timed(_Worker):
    """Notes in ``turns`` each answer whose speed is measured.

    The first ``slow`` of them are a hundredth as quick, after prompts that are quicker.
    """

    def __init__(self, name: str, turns: list[str], *, slow: int = 0) -> None:
        super().__init__()
        self._name, self._turns, self._slow = name, turns, slow

    async def fetch(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = await super().fetch(path, body)
        if "ignore_eos" not in body:
            return answer
        if self._turns.count(self._name) < self._slow:
            answer["timings"]["predicted_per_second"] /= 100
            answer["timings"]["prompt_per_second"] *= 1.41
        if body["n_predict"] == ANSWER_TOKENS:
            self._turns.append(self._name)
        return answer


async def test_both_are_measured_in_turns_of_which_either_is_the_first_as_often() -> None:
    turns: list[str] = []
    checked = await check(_Timed("A", turns), _Timed("B", turns), "native")
    assert "".join(turns) == "AB" + ROUNDS * "ABBA"
    assert checked.factors == {"prompts": 1.0, "answers": 1.0}


async def test_contradictory_timings_are_taken_again() -> None:
    turns: list[str] = []
    slow = 1 + 2 * ROUNDS  # the first time, and the whole first series
    checked = await check(_Timed("A", turns), _Timed("B", turns, slow=slow), "native")
    assert "".join(turns) == "AB" + SERIES * ROUNDS * "ABBA"
    assert checked.factors == {"prompts": 1.0, "answers": 1.0}


def test_builds_are_compared_whatever_program_takes_their_place_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "/bin/true")
    launch = LlamaCpp().launch(bundled_model(), "key")
    assert launch.argv[-1] == "modelhost.engines.llamacpp.worker"
