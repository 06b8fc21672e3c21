"""How many responses and conversations are kept, and which go first."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from modelhost.logs import get_logger
from modelhost.meters import METERS
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.stored_response import Usage

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows

Use = tuple[datetime, str, int]
"""When something was last used, its id and its bytes."""
SECONDS_BETWEEN: Final = 3600.0
"""Between two looks for what was not used for long."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseLimits:
    """What is kept: so many responses, so many conversations, both together so many bytes, unused for so long."""

    count: int
    size_bytes: int
    unused: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The ids of what goes."""

    responses: tuple[str, ...] = ()
    conversations: tuple[str, ...] = ()


def over_limits(
    usage: Usage, limits: ResponseLimits, responses: Iterable[Use], conversations: Iterable[Use], *, newest: str
) -> Dropped:
    """Return what goes so that the limits hold: the least recently used first, but never ``newest``.

    ``responses`` and ``conversations`` are those that may go, the least recently used first.
    """
    excess = {"response": usage.responses - limits.count, "conversation": usage.conversations - limits.count}
    bytes_over = usage.size_bytes - limits.size_bytes
    dropped: dict[str, list[str]] = {"response": [], "conversation": []}
    kinds = (((use, "response") for use in responses), ((use, "conversation") for use in conversations))
    for (_, name, size), kind in heapq.merge(*kinds):
        if bytes_over <= 0 and excess["response"] <= 0 and excess["conversation"] <= 0:
            break
        if name == newest or (bytes_over <= 0 and excess[kind] <= 0):
            continue
        dropped[kind].append(name)
        excess[kind] -= 1
        bytes_over -= size
    return Dropped(responses=tuple(dropped["response"]), conversations=tuple(dropped["conversation"]))


class Retention:
    """Applies the limits after something was stored."""

    def __init__(self, database: LazyDatabase, limits: ResponseLimits) -> None:
        self._database = database
        self._limits = limits
        self._next_look = 0.0

    def is_exceeded(self, usage: Usage) -> bool:
        """Whether ``usage`` is over the limits, or it is time to look for what was not used for long."""
        METERS.stored_responses.set(usage.responses)
        METERS.stored_conversations.set(usage.conversations)
        METERS.stored_response_bytes.set(usage.size_bytes)
        limits = self._limits
        is_over = max(usage.responses, usage.conversations) > limits.count or usage.size_bytes > limits.size_bytes
        return is_over or time.monotonic() >= self._next_look

    async def apply(self, newest: str) -> None:
        """Delete what is over the limits, but not ``newest``, and what was not used for long."""
        self._next_look = time.monotonic() + SECONDS_BETWEEN
        dropped, usage = await self._database.write(lambda rows: self._drop(newest, rows), durable=False)
        self.is_exceeded(usage)
        METERS.dropped_responses.inc(len(dropped.responses))
        if dropped.responses or dropped.conversations:
            _log.info("responses_dropped", responses=len(dropped.responses), conversations=len(dropped.conversations))

    def _drop(self, newest: str, rows: Rows) -> tuple[Dropped, Usage]:
        rows.one_at_a_time()
        oldest = datetime.now(UTC) - self._limits.unused
        unused = Dropped(
            responses=tuple(rows.responses.unused_since(oldest)),
            conversations=tuple(rows.conversations.unused_since(oldest)),
        )
        _remove(unused, rows)
        rows.decisions.purge(oldest)
        over = over_limits(
            usage_of(rows), self._limits, rows.responses.by_use(), rows.conversations.by_use(), newest=newest
        )
        _remove(over, rows)
        both = Dropped(
            responses=unused.responses + over.responses, conversations=unused.conversations + over.conversations
        )
        return both, usage_of(rows)


def usage_of(rows: Rows) -> Usage:
    responses, response_bytes = rows.responses.totals()
    conversations, conversation_bytes = rows.conversations.totals()
    return Usage(responses=responses, conversations=conversations, size_bytes=response_bytes + conversation_bytes)


def _remove(dropped: Dropped, rows: Rows) -> None:
    rows.responses.remove(dropped.responses)
    rows.conversations.remove(dropped.conversations)
