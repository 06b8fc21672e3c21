"""When a loaded model makes room: not at every request, and not never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelhost.models.residency.planner import Burst, BurstLimits, may_start_request

times = st.floats(0, 1e6)


@given(st.builds(BurstLimits, requests=st.integers(1, 100), seconds=st.floats(0.1, 100)), times)
def test_nothing_is_bound_as_long_as_nobody_waits(bursts: BurstLimits, now: float) -> None:
    assert may_start_request(None, bursts, now)


@given(st.integers(1, 50), times)
def test_a_burst_begins_exactly_as_many_requests_as_it_may(requests: int, now: float) -> None:
    bursts, begun = BurstLimits(requests=requests, seconds=10), 0
    while may_start_request(Burst(since=now, begun=begun), bursts, now):
        begun += 1
    assert begun == requests


@given(st.integers(0, 31), st.floats(0, 20))
def test_a_burst_ends_with_its_time_however_few_it_has_begun(begun: int, seconds: float) -> None:
    bursts = BurstLimits(requests=32, seconds=5)
    assert may_start_request(Burst(since=100, begun=begun), bursts, 100 + seconds) == (100 + seconds - 100 < 5)


@given(st.integers(0, 40), times, times)
def test_a_burst_that_is_over_does_not_begin_again(begun: int, one: float, other: float) -> None:
    bursts = BurstLimits()
    earlier, later = sorted((one, other))
    if not may_start_request(Burst(since=0, begun=begun), bursts, earlier):
        assert not may_start_request(Burst(since=0, begun=begun), bursts, later)
        assert not may_start_request(Burst(since=0, begun=begun + 1), bursts, earlier)
