"""``keep_alive``, as numbers and as durations of Go."""

from __future__ import annotations

import math

import pytest

from modelhost.errors import InvalidRequest
from modelhost.http.ollama.options import seconds_of


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0),
        (90, 90),
        (1.5, 1.5),
        (-1, math.inf),
        (-0.1, math.inf),
        ("0", 0),
        ("30", 30),
        ("-1", math.inf),
        ("5m", 300),
        ("1h30m", 5400),
        (" 1.5h ", 5400),
        ("+2m3s", 123),
        ("250ms", 0.25),
        ("7us", 7e-6),
        ("7\u00b5s", 7e-6),
        ("7\u03bcs", 7e-6),
        ("7ns", 7e-9),
        (".5s", 0.5),
        ("1.s", 1),
        ("-5m", math.inf),
    ],
)
def test_a_time_is_a_number_of_seconds(given: str | float | None, seconds: float | None) -> None:
    assert seconds_of(given) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("given", ["", "5 m", "m", "1d", "five", "1h-5m", "nan", "inf", "1e3", "9" * 100])
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequest, match=r"keep_alive: .*5m") as caught:
        seconds_of(given)
    assert caught.value.param == "keep_alive"
