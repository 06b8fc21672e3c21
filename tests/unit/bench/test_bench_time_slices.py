"""The benchmark of slices: each variant is measured, and a line says what was found."""

from __future__ import annotations

from bench.time_slices import VARIANTS, measure, summary


def test_every_variant_has_tasks() -> None:
    late = measure(1, 0.02)
    assert list(late) == [variant.name for variant in VARIANTS]
    assert all(tasks for tasks in late.values())


def test_a_line_has_the_median_and_the_mean_in_milliseconds() -> None:
    assert summary({"usual slices": [0.001, 0.002, 0.009]}) == [
        "usual slices: 2.00 ms late, median of 3 tasks; mean 4.00 ms"
    ]
