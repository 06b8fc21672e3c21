"""When the scores of a build are those of the wheel."""

from __future__ import annotations

import math

import pytest

from modelhost.config.environment import SERVER_VARIABLE
from modelhost.engines.llamacpp.engine import LlamaCpp
from modelhost.models.resolve.build_check import bundled_model, factors_of, worst_difference

WHEEL = {1: -0.1, 2: -2.5, 3: -6.0}


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (WHEEL, 0.0),
        ({1: -0.1004, 2: -2.509, 4: -6.0}, 0.0),  # the last one of the likeliest is another
        ({1: -0.1, 2: -2.52, 3: -6.0}, 0.02),
        ({2: -0.1, 5: -0.2}, math.inf),
    ],
)
def test_scores_may_differ_by_a_hundredth(found: dict[int, float], difference: float) -> None:
    assert worst_difference(WHEEL, found) == pytest.approx(difference)


def test_a_build_is_compared_with_the_wheel_at_the_same_time() -> None:
    def timed(prompt: float, predicted: float) -> dict[str, float]:
        return {"prompt_per_second": prompt, "predicted_per_second": predicted, "prompt_n": 512}

    rounds = [
        (timed(100, 10), timed(150, 11)),
        (timed(10, 1), timed(15, 1.1)),  # something else took the processor
        (timed(100, 10), timed(20, 30)),
    ]
    assert factors_of(rounds) == {"prompts": 1.5, "answers": 1.1}


def test_builds_are_compared_whatever_program_takes_their_place_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "/bin/true")
    launch = LlamaCpp().launch(bundled_model(), "key")
    assert launch.argv[-1] == "modelhost.engines.llamacpp.worker"
