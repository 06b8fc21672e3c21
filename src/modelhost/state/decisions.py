"""Decisions about calls that need approval: which of several hosts of a database carries one out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelhost.state.lazy_database import LazyDatabase

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows


class _Taken(Exception):
    """Another response carries out a decision; the transaction is rolled back."""


class DecisionStore:
    """The decisions that the hosts of a database carry out. A row that can be there once says who does.

    That of a host that was killed stays, since nobody knows whether it has made the call.
    """

    def __init__(self, database: LazyDatabase) -> None:
        self._database = database

    async def take(self, request_ids: Sequence[str], owner: str) -> str | None:
        """Take all of these approval requests of ``owner``; if one is taken, take none and return it.

        Raises:
            DatabaseUnavailable: the database cannot be used.
        """
        wanted = {_digest(each, owner): each for each in request_ids}

        def take(rows: Rows) -> None:
            for name in sorted(wanted):  # in one order at all hosts, so that none waits for another in a circle
                if not rows.decisions.add(name):
                    raise _Taken(wanted[name])

        try:
            await self._database.write(take)
        except _Taken as taken:
            return str(taken)
        return None

    async def release(self, request_ids: Sequence[str], owner: str) -> None:
        """Give taken requests back, once what became of them is stored, or nothing did; raises as :meth:`take`."""
        names = [_digest(each, owner) for each in request_ids]
        await self._database.write(lambda rows: rows.decisions.remove(names), durable=False)


def _digest(request_id: str, owner: str) -> str:
    return hashlib.sha256(f"{owner}\0{request_id}".encode()).hexdigest()
