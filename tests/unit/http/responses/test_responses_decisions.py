"""Decisions about calls: what a host takes, and what it gives back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from modelhost.errors import DatabaseUnavailable, InvalidRequest
from modelhost.http.responses.decisions import Decisions
from modelhost.state.decisions import DecisionStore
from modelhost.state.responses import ResponseStore

ONE: list[dict[str, Any]] = [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}]


class Store:
    """Both stores: the decisions that are taken, and the calls that are stored."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.taken: set[tuple[str, str]] = set()
        self.stored: dict[str, Any] = {}
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.is_asked = asyncio.Event()
        self._is_broken = is_broken

    async def take(self, request_ids: Sequence[str], owner: str) -> str | None:
        self.is_asked.set()
        await self.may_go_on.wait()
        if self._is_broken:
            raise DatabaseUnavailable("It is broken.")
        if other := next((each for each in request_ids if (owner, each) in self.taken), None):
            return other
        self.taken |= {(owner, each) for each in request_ids}
        return None

    async def release(self, request_ids: Sequence[str], owner: str) -> None:
        self.taken -= {(owner, each) for each in request_ids}

    async def find_items(self, ids: Sequence[str], _owner: str) -> dict[str, Any]:
        return {each: self.stored[each] for each in ids if each in self.stored}


def decisions_of(store: Store) -> Decisions:
    return Decisions(cast("ResponseStore", store), cast("DecisionStore", store))


async def test_a_decision_is_taken_and_given_back() -> None:
    store = Store()
    one, other = decisions_of(store), decisions_of(store)
    release = await one.begin(["mcpr_1"], "ada", ONE, is_kept=True)
    for host in (one, other):
        with pytest.raises(InvalidRequest) as refused:
            await host.begin(["mcpr_1"], "ada", ONE, is_kept=True)
        assert refused.value.param == "input[0].approval_request_id"
    release()
    await one.settle()
    (await other.begin(["mcpr_1"], "ada", ONE, is_kept=True))()
    await other.settle()
    assert store.taken == set()


async def test_what_was_taken_for_a_client_that_left_is_given_back() -> None:
    store = Store()
    store.may_go_on.clear()
    host = decisions_of(store)
    beginning = asyncio.create_task(host.begin(["mcpr_1"], "ada", ONE, is_kept=True))
    await store.is_asked.wait()
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    store.may_go_on.set()
    async with asyncio.timeout(5):
        while True:
            try:
                (await host.begin(["mcpr_1"], "ada", ONE, is_kept=True))()
            except InvalidRequest:
                await asyncio.sleep(0)
            else:
                break


async def test_without_a_database_only_what_is_not_kept_is_decided_about() -> None:
    host = decisions_of(Store(is_broken=True))
    with pytest.raises(DatabaseUnavailable):
        await host.begin(["mcpr_1"], "ada", ONE, is_kept=True)
    release = await host.begin(["mcpr_1"], "ada", ONE, is_kept=False)
    with pytest.raises(InvalidRequest):
        await host.begin(["mcpr_1"], "ada", ONE, is_kept=False)
    release()
    await host.begin(["mcpr_1"], "ada", ONE, is_kept=False)
