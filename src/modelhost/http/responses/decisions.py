"""Decisions about calls that need approval: each call is decided about once, however many responses go on from it.

Several responses may continue the one that asked. The first of them that decides has the call made, or not; its item
is found again in what is stored, by an id that follows from that of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from modelhost.errors import InvalidRequest
from modelhost.http.responses.items import APPROVAL, Item, kind_of, settled_call_id
from modelhost.state.responses import ResponseStore

Release = Callable[[], None]


class Decisions:
    """The decisions of the responses that this host makes, and those that are stored."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._making: set[tuple[str, str]] = set()
        """The owner and the approval request of each decision in a response that is being made."""

    async def begin(
        self, request_ids: Sequence[str], owner: str, own_input: Sequence[Item], *, is_kept: bool
    ) -> Release:
        """Begin to carry out the decisions in ``own_input`` about these requests; call what is returned at the end.

        ``is_kept``: whether the response is stored, or continues what is.

        Raises:
            InvalidRequest: another response has decided about one of them, or is about to.
        """
        taken = {(owner, each) for each in request_ids}
        for each in request_ids:
            if (owner, each) in self._making:
                raise _decided(each, own_input)
        self._making |= taken
        release = partial(self._making.difference_update, taken)
        try:
            if is_kept and request_ids:
                await self._check_stored(request_ids, owner, own_input)
        except BaseException:
            release()
            raise
        return release

    async def _check_stored(self, request_ids: Sequence[str], owner: str, own_input: Sequence[Item]) -> None:
        made = {settled_call_id(each).written("mcp_call"): each for each in request_ids}
        for call_id in await self._store.find_items(list(made), owner):
            raise _decided(made[call_id], own_input)


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
