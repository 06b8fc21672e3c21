"""The pauses before a worker is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelhost.models.residency.record import FIRST_SECONDS, HEALTHY_SECONDS, LONGEST_SECONDS, Backoff


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff()
    pauses = [backoff.pause() for _ in range(12)]
    assert pauses[:4] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS, 8 * FIRST_SECONDS]
    assert pauses[-2:] == [LONGEST_SECONDS, LONGEST_SECONDS]


def test_a_healthy_life_begins_the_pauses_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.pause()
    backoff.survived(HEALTHY_SECONDS)
    assert backoff.pause() == FIRST_SECONDS


def test_a_short_life_does_not_begin_the_pauses_anew() -> None:
    backoff = Backoff()
    backoff.pause()
    backoff.survived(HEALTHY_SECONDS - 0.001)
    assert backoff.pause() == 2 * FIRST_SECONDS


@given(st.lists(st.floats(0, 2 * HEALTHY_SECONDS)))
def test_no_history_makes_a_pause_shorter_than_the_first_or_longer_than_the_longest(lives: list[float]) -> None:
    backoff = Backoff()
    for seconds in lives:
        backoff.survived(seconds)
        assert FIRST_SECONDS <= backoff.pause() <= LONGEST_SECONDS
