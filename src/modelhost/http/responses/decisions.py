"""Decisions about calls that need approval: each call is decided about once, however many responses go on from it.

Several responses may continue the one that asked, on several hosts of one database. The first of them that decides has
the call made, or not. While it is made, a row of the database says so; later, its item is found again in what is
stored, by an id that follows from that of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from modelhost.background import log_failures
from modelhost.errors import DatabaseUnavailable, InvalidRequest
from modelhost.http.responses.items import APPROVAL, Item, kind_of, settled_call_id
from modelhost.logs import get_logger
from modelhost.state.decisions import DecisionStore
from modelhost.state.responses import ResponseStore

Release = Callable[[], None]
Key = tuple[str, str]
"""The owner, and the approval request."""

log = get_logger(__name__)


class Decisions:
    """The decisions of the responses that the hosts of a database make, and those that are stored."""

    def __init__(self, store: ResponseStore, decisions: DecisionStore) -> None:
        self._store = store
        self._decisions = decisions
        self._making: set[Key] = set()
        """Those of responses that are being made here."""
        self._releasing: set[asyncio.Task[None]] = set()

    async def begin(
        self, request_ids: Sequence[str], owner: str, own_input: Sequence[Item], *, is_kept: bool
    ) -> Release:
        """Begin to carry out the decisions in ``own_input`` about these requests; call what is returned at the end.

        ``is_kept``: whether the response is stored, or continues what is. Others do without a database that cannot be
        used.

        Raises:
            InvalidRequest: another response has decided about one of them, or is about to.
            DatabaseUnavailable: it is needed, and cannot be used.
        """
        if not request_ids:
            return _nothing
        await self.settle()  # what was just released here may be decided about again
        taken = {(owner, each) for each in request_ids}
        for each in request_ids:
            if (owner, each) in self._making:
                raise _decided(each, own_input)
        self._making |= taken
        is_stored = False
        try:
            is_stored = await self._take(request_ids, owner, own_input, is_kept=is_kept)
            if is_kept:
                await self._check_stored(request_ids, owner, own_input)
        except BaseException:
            self._release(taken, is_stored=is_stored)
            raise
        return partial(self._release, taken, is_stored=is_stored)

    async def settle(self) -> None:
        """Wait until what was released is free for other hosts, too."""
        if self._releasing:
            await asyncio.wait(self._releasing)

    async def _take(self, request_ids: Sequence[str], owner: str, own_input: Sequence[Item], *, is_kept: bool) -> bool:
        """Keep other hosts from carrying them out; return whether there is a database for that."""
        taking = asyncio.ensure_future(self._decisions.take(request_ids, owner))
        try:
            other = await asyncio.shield(taking)
        except DatabaseUnavailable:
            if is_kept:
                raise
            return False
        except asyncio.CancelledError:
            taking.add_done_callback(lambda _: self._give_back_taken(taking, request_ids, owner))
            raise
        if other is not None:
            raise _decided(other, own_input)
        return True

    def _give_back_taken(self, taking: asyncio.Future[str | None], request_ids: Sequence[str], owner: str) -> None:
        """Release what was taken for a request whose client had left."""
        if not taking.cancelled() and taking.exception() is None and taking.result() is None:
            self._release({(owner, each) for each in request_ids}, is_stored=True)

    def _release(self, taken: set[Key], *, is_stored: bool) -> None:
        if not is_stored:
            self._making -= taken
            return
        task = asyncio.create_task(self._give_back(taken))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def _give_back(self, taken: set[Key]) -> None:
        ((owner, *_), *_) = taken
        try:
            with log_failures("releasing decisions"):
                try:
                    await self._decisions.release([request_id for _, request_id in taken], owner)
                except DatabaseUnavailable as error:
                    log.warning("decisions_not_released", reason=error.message)
        finally:
            self._making -= taken

    async def _check_stored(self, request_ids: Sequence[str], owner: str, own_input: Sequence[Item]) -> None:
        made = {settled_call_id(each).written("mcp_call"): each for each in request_ids}
        for call_id in await self._store.find_items(list(made), owner):
            raise _decided(made[call_id], own_input)


def _nothing() -> None:
    """Release nothing."""


def _decided(request_id: str, own_input: Sequence[Item]) -> InvalidRequest:
    places = (
        place
        for place, item in enumerate(own_input)
        if kind_of(item) == APPROVAL and item["approval_request_id"] == request_id
    )
    param = f"input[{next(places, 0)}].approval_request_id"
    return InvalidRequest(
        f"{param}: another response has decided about {request_id}, and a call is made once. Continue that response.",
        param=param,
    )
