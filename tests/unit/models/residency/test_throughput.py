"""How fast a model has answered of late."""

from __future__ import annotations

import pytest

from modelhost.models.residency.hosted import STEP_SECONDS, WINDOW_SECONDS, Throughput, ThroughputMeter


def _answered(
    meter: ThroughputMeter, began: float, ended: float, *, tokens: int | None = 10, latency: float | None = 0.5
) -> None:
    meter.begin(began)
    meter.end(ended, tokens=tokens, latency_seconds=latency)


def test_nothing_is_known_without_an_answer() -> None:
    assert ThroughputMeter().measured(100.0) == Throughput()


def test_the_time_between_answers_is_not_counted() -> None:
    meter = ThroughputMeter()
    _answered(meter, 0.0, 2.0, latency=0.25)
    _answered(meter, 100.0, 103.0, latency=0.75)
    assert meter.measured(104.0) == Throughput(tokens_per_second=4.0, latency_seconds=0.5)


@pytest.mark.promise("vllm-crush.get-model-info.performance")
def test_answers_at_the_same_time_count_together() -> None:
    meter = ThroughputMeter()
    meter.begin(0.0)
    meter.begin(1.0)
    meter.end(4.0, tokens=30, latency_seconds=1.0)
    meter.end(5.0, tokens=20, latency_seconds=1.0)
    assert meter.measured(5.0).tokens_per_second == 10.0


def test_an_answer_that_was_cut_off_does_not_make_the_others_slower() -> None:
    meter = ThroughputMeter()
    _answered(meter, 0.0, 1.0)
    _answered(meter, 10.0, 50.0, tokens=None, latency=None)
    assert meter.measured(50.0).tokens_per_second == 10.0
    meter.begin(60.0)
    meter.begin(61.0)
    meter.end(62.0, tokens=None, latency_seconds=0.1)
    meter.end(64.0, tokens=40, latency_seconds=0.5)
    assert meter.measured(64.0).tokens_per_second == 10.0


@pytest.mark.promise("vllm-crush.get-model-info.performance")
def test_what_is_minutes_ago_is_forgotten() -> None:
    meter = ThroughputMeter()
    _answered(meter, 0.0, 1.0, tokens=1000)
    _answered(meter, WINDOW_SECONDS, WINDOW_SECONDS + 1)
    assert meter.measured(WINDOW_SECONDS + 1).tokens_per_second == 505.0
    assert meter.measured(WINDOW_SECONDS + 2).tokens_per_second == 10.0
    assert meter.measured(3 * WINDOW_SECONDS) == Throughput()


@pytest.mark.parametrize("seconds", [STEP_SECONDS / 7, STEP_SECONDS, 3 * STEP_SECONDS])
def test_a_steady_pace_is_told_whatever_the_steps(seconds: float) -> None:
    meter = ThroughputMeter()
    for number in range(200):
        _answered(meter, number * seconds, (number + 1) * seconds, tokens=round(seconds * 70))
    assert meter.measured(200 * seconds).tokens_per_second == pytest.approx(70, rel=0.01)
