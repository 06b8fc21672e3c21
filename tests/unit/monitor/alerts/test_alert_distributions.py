"""Percentiles for alerts: of this host, by model, without reading more than necessary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelhost.errors import DatabaseUnavailable
from modelhost.monitor.alerts.source import Distributions, MetricQuery
from modelhost.monitor.cells import HOST, Cell
from modelhost.monitor.windows import Window


class Recorded:
    """A monitor that has recorded first tokens of two models."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.last_recorded_at: float | None = 1000.0
        self.reads: list[tuple[int, str | None]] = []
        self.is_broken = False

    async def window(self, seconds: int, *, source: str | None = None) -> Window:
        self.reads.append((seconds, source))
        if self.is_broken:
            raise DatabaseUnavailable("The database does not work.")
        fast, slow, host = Cell(), Cell(), Cell()
        for number in range(1, 101):
            fast.observe("first_token", number / 1000)
            slow.observe("first_token", number)
        frame = {"fast": fast, "slow": slow, "idle": Cell(), HOST: host}
        return Window(end=self.now, seconds=seconds, covered_seconds=seconds, frame=frame)


def reading(recorded: Recorded) -> Distributions:
    return Distributions(recorded, source="here", clock=lambda: recorded.now)


def first_token(statistic: str) -> MetricQuery:
    return MetricQuery(metric="time_to_first_token_seconds", statistic=statistic, window_seconds=300)


@pytest.mark.parametrize(("statistic", "expected"), [("p50", 50), ("p95", 95), ("p99", 99), ("mean", 50.5)])
async def test_statistics_are_those_of_each_models_own_requests(statistic: str, expected: float) -> None:
    recorded = Recorded()
    found = await reading(recorded).read(first_token(statistic))
    assert found.keys() == {"fast", "slow"}
    assert found["slow"] == pytest.approx(expected, rel=0.03)
    assert found["fast"] == pytest.approx(expected / 1000, rel=0.03)
    assert recorded.reads == [(300, "here")]


async def test_nothing_is_read_while_nothing_is_recorded() -> None:
    recorded = Recorded()
    recorded.last_recorded_at = None
    assert await reading(recorded).read(first_token("p95")) == {}
    recorded.last_recorded_at = recorded.now - 301
    assert await reading(recorded).read(first_token("p95")) == {}
    assert recorded.reads == []


@pytest.mark.parametrize(("window_seconds", "readings"), [(60, 11), (300, 3), (7200, 3)])
async def test_a_reading_is_used_for_a_tenth_of_its_window_and_half_a_minute_at_most(
    window_seconds: float, readings: int
) -> None:
    recorded = Recorded()
    source = reading(recorded)
    for recorded.now in range(1000, 1061, 2):
        assert await source.read(replace(first_token("p95"), window_seconds=window_seconds))
    assert len(recorded.reads) == readings


async def test_while_the_database_fails_the_latest_values_hold() -> None:
    recorded = Recorded()
    source = reading(recorded)
    before = await source.read(first_token("p95"))
    recorded.is_broken = True
    recorded.now += 60
    assert await source.read(first_token("p95")) == before
