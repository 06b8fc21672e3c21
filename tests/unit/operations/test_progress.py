"""Telling how far an operation is: from any thread, in order, and to the end."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.operations.operation import CombinedProgress, Progress, sending_progress


def at(fraction: float) -> Progress:
    return Progress(fraction=fraction, message="downloading")


async def test_what_another_thread_tells_is_sent_in_order_before_the_end() -> None:
    sent: list[float | None] = []

    async def send(progress: Progress) -> None:
        await asyncio.sleep(0)
        sent.append(progress.fraction)

    def work() -> None:
        for hundredth in range(100):
            on_progress(at(hundredth / 100))

    async with sending_progress(send) as on_progress:
        await asyncio.to_thread(work)
    assert sent == [hundredth / 100 for hundredth in range(100)]


@pytest.mark.usefixtures("virtual_time")
async def test_nothing_is_sent_after_an_error() -> None:
    sent: list[Progress] = []

    async def send(progress: Progress) -> None:
        sent.append(progress)

    async def fail() -> None:
        async with sending_progress(send) as on_progress:
            on_progress(at(0.5))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fail()
    await asyncio.sleep(1)
    assert sent == []


def test_several_are_told_as_one_that_ends_with_the_last() -> None:
    told: list[Progress] = []
    shares = CombinedProgress(2, told.append)
    first, second = shares.of(0), shares.of(1)
    for tell, fraction in ((first, 0.5), (second, 1.0), (first, 1.0)):
        tell(at(fraction))
    assert [step.fraction for step in told] == [0.25, 0.75, 1.0]
