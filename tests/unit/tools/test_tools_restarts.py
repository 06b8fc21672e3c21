"""How long requests wait for a server that is starting, and which servers a choice of tools needs."""

from __future__ import annotations

import asyncio

import pytest

from modelhost.tools.catalogue import OfferedTool
from modelhost.tools.failures import LONGEST_WAIT_SECONDS, StartupWait
from modelhost.tools.names import ALL, Selection


@pytest.mark.usefixtures("virtual_time")
async def test_requests_wait_from_the_first_of_them_on_and_later_ones_never_again() -> None:
    startup_wait = StartupWait(60.0)
    await asyncio.sleep(20)
    assert startup_wait.seconds_left() == LONGEST_WAIT_SECONDS
    await asyncio.sleep(10)
    assert startup_wait.seconds_left() == pytest.approx(LONGEST_WAIT_SECONDS - 10)
    await asyncio.sleep(10)
    assert startup_wait.seconds_left() == 0


@pytest.mark.usefixtures("virtual_time")
async def test_requests_wait_no_longer_than_the_attempt_may_take() -> None:
    short, nearly_over = StartupWait(3.0), StartupWait(20.0)
    assert short.seconds_left() == 3
    await asyncio.sleep(18)
    assert (short.seconds_left(), nearly_over.seconds_left()) == (0, 2)


def offered(server: str, tool: str) -> OfferedTool:
    return OfferedTool(
        name=f"{server}_{tool}",
        server=server,
        tool=tool,
        function={"type": "function", "function": {"name": f"{server}_{tool}"}},
        annotations={},
        is_read_only=True,
        approval="auto",
    )


def test_a_choice_of_tools_is_met_when_each_of_them_is_there() -> None:
    there = [offered("a", "echo"), offered("a", "pid")]
    assert Selection(tools=frozenset({"a_echo", "a.pid", "echo"})).is_met_by(there)
    assert Selection(tools=frozenset()).is_met_by([])
    assert not Selection(tools=frozenset({"echo", "b_echo"})).is_met_by(there)
    assert Selection(tools=frozenset({"a.*"})).is_met_by(there)
    assert not Selection(tools=frozenset({"a.*", "b.*"})).is_met_by(there)
    assert not ALL.is_met_by(there)
    assert not Selection(servers=frozenset({"a"})).is_met_by(there)
