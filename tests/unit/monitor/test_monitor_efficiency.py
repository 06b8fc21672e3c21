"""Tokens per joule, minute by minute, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.monitor.efficiency import Efficiency

pytestmark = pytest.mark.usefixtures("virtual_time")


class Machine:
    """Generates tokens and uses energy as a test says."""

    def __init__(self) -> None:
        self.tokens = 1000.0
        self.joules: float | None = 50_000.0
        self.efficiency = Efficiency(lambda: self.tokens, self._energy)

    async def _energy(self) -> float | None:
        return self.joules

    async def minute(self, tokens: float, joules: float | None) -> float | None:
        self.tokens += tokens
        self.joules = None if joules is None else (self.joules or 0) + joules
        await asyncio.sleep(60)
        return self.efficiency.ratio


async def test_it_is_relative_to_the_best_minute() -> None:
    machine = Machine()
    machine.efficiency.start()
    await asyncio.sleep(1)
    assert await machine.minute(0, 6000) is None
    assert await machine.minute(600, 6000) == 1
    assert await machine.minute(300, 6000) == 0.5
    assert await machine.minute(1200, 6000) == 1
    assert await machine.minute(300, 6000) == 0.25
    assert await machine.minute(0, 6000) == 0
    await machine.efficiency.stop()


async def test_without_energy_there_is_none() -> None:
    machine = Machine()
    machine.joules = None
    machine.efficiency.start()
    assert await machine.minute(600, None) is None
    await machine.efficiency.stop()


async def test_a_counter_of_energy_that_begins_anew_is_no_minute() -> None:
    machine = Machine()
    machine.efficiency.start()
    await asyncio.sleep(1)
    assert await machine.minute(600, 6000) == 1
    assert await machine.minute(600, -55_000) == 1
    assert await machine.minute(300, 6000) == 0.5
    await machine.efficiency.stop()
