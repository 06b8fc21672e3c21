"""Servers that take their time to start, shared by the tests that leave them as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from modelhost.tools.callbacks import SamplingAnswer, SamplingRequest
from modelhost.tools.entry import SamplingPolicy
from modelhost.tools.hub import ToolHub
from tests.support.mcp_peers import hub_of, sdk_stdio

ROOTS = ("file:///srv/one", "file:///srv/two")


class Poet:
    """A sampler that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[SamplingRequest] = []

    async def sample(self, request: SamplingRequest) -> SamplingAnswer:
        self.asked.append(request)
        return SamplingAnswer(text="old pond", model="nano")


@pytest.fixture(scope="session")
def poet() -> Poet:
    """What writes for the servers of ``sdk_hub``."""
    return Poet()


@pytest.fixture(scope="session")
async def sdk_hub(poet: Poet) -> AsyncIterator[ToolHub]:
    """A hub with the SDK's server in two ways: ``sdk`` may do everything, ``strict`` nothing beyond its tools."""
    free = sdk_stdio(sampling=SamplingPolicy(mode="auto", max_tokens=40), roots=ROOTS, timeout_seconds=1.5)
    async with hub_of(free, sdk_stdio("strict"), sampler=poet, max_result_chars=1000) as hub:
        yield hub
