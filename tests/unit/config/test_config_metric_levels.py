"""The setting for the history of metrics."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from modelhost.config.settings import Settings
from modelhost.config.value_types import MetricLevel, parse_levels


def test_levels_are_intervals_with_how_long_they_are_kept() -> None:
    assert parse_levels("1s/10m, 1m/3650d") == (
        MetricLevel(step=1, keep=600),
        MetricLevel(step=60, keep=3650 * 86_400),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1s", "expected intervals and how long they are kept"),
        ("1m/1m", "1m/1m keeps fewer than two intervals"),
        ("1s/10m,1s/1h", "has to be a multiple of the one before it"),
        ("10s/10m,15s/1h", "has to be a multiple of the one before it"),
        ("1s/10m,10m/1d", "is made of the level before it, which is not kept for two such intervals"),
        ("1s/10m,10s/5m", "10s/5m is kept for a shorter time than the level before it"),
        ("1s/1000000000d", "1s/1000000000d is kept for longer than 3650 days"),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Settings(metrics_history=text)
