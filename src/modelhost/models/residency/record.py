"""The record of one model's state and of a request for it; the ledger alone writes them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from msgspec import Struct

from modelhost.errors import InsufficientMemory, ModelhostError
from modelhost.models.files.memory_pools import Bytes
from modelhost.models.residency.planner import Burst, EvictionRank, Resident
from modelhost.models.residency.status import Activity, State

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 30.0
HEALTHY_SECONDS = 30.0  # a worker that lived this long died of something new


class Backoff:
    """Doubling pauses that begin anew after a healthy life. No clock inside: the caller says what it saw."""

    def __init__(self) -> None:
        self.next_seconds = FIRST_SECONDS

    def survived(self, seconds: float) -> None:
        """Note how long the worker lived before it died."""
        if seconds >= HEALTHY_SECONDS:
            self.next_seconds = FIRST_SECONDS

    def pause(self) -> float:
        """Return the seconds to wait now; the next time it is twice as long."""
        seconds = self.next_seconds
        self.next_seconds = min(seconds * 2, LONGEST_SECONDS)
        return seconds


NEVER = float("inf")


class Phase(Enum):
    """Where the worker of a model is in its life."""

    UNLOADED = auto()
    FETCHING = auto()
    """Its files are looked for, or downloaded; until then nobody knows what it needs."""
    LOADING = auto()
    READY = auto()
    STOPPING = auto()


class ModelPolicy(Struct, frozen=True, kw_only=True):
    """The limits of one model. Times are seconds."""

    max_in_flight: int = 256
    queue_size: int = 10
    wait_seconds: float = 30.0
    idle_unload_seconds: float | None = None
    is_pinned: bool = False


@dataclass(slots=True, eq=False)
class Ticket:
    """A request for a turn of a model. ``waiter`` is what its caller waits on."""

    model: str
    waiter: Any = None
    queued_at: float = 0.0
    deadline: float = NEVER
    position: int = 0
    """Its place in the queue when it arrived, from 1; 0 if it did not have to wait."""
    run: int = 0
    """The run of the worker that it was granted; 0 before."""


class LoadReason(Enum):
    """Why a model is wanted though no request waits for it."""

    REQUESTED = auto()
    """A load was requested: other models may be evicted for it."""
    RESTART = auto()
    """Its worker died: it is restarted if there is memory for it without evictions."""


class Rollback(Struct, frozen=True, kw_only=True):
    """What a model returns to if it cannot be loaded with its new configuration."""

    need: Bytes | None
    has_shrunk: bool
    will_restart: bool
    """It was loaded, or on its way."""


@dataclass(slots=True, eq=False)
class ModelRecord:
    name: str
    policy: ModelPolicy
    need: Bytes | None = None
    has_context: bool = True
    """Whether it needs less with a smaller context, as far as is known."""
    phase: Phase = Phase.UNLOADED
    run: int = 0
    """The number of its worker or download, given once in the ledger; news of an earlier one is no news."""
    queue: deque[Ticket] = field(default_factory=deque)
    in_flight: int = 0
    charge: Bytes = field(default_factory=dict)
    """What its worker counts with, as long as there is one."""
    has_worker: bool = False
    load_reason: LoadReason | None = None
    load_requested_at: float = 0.0
    burst: Burst | None = None
    retry_at: float = 0.0
    has_failed: bool = False
    """The last attempt to load it failed. Requests are refused until ``retry_at``."""
    last_error: ModelhostError | None = None
    backoff: Backoff = field(default_factory=Backoff)
    has_shrunk: bool = False
    """It ran out of memory once: it is loaded with a smaller context until its entry changes."""
    began_at: float = 0.0
    """When the present phase began."""
    last_used: float = 0.0
    loads: int = 0
    evictions: int = 0
    is_outdated: bool = False
    """Its entry has changed: the worker is stopped as soon as it is idle."""
    will_restart: bool = False
    """Its worker is replaced: it is loaded again after that."""
    kept_seconds: float | None = None
    """How long its present worker stays without requests, in the place of what its policy says; infinite: always."""
    rollback: Rollback | None = None
    """Set while it is being reloaded with another configuration: until its next worker is ready, or has failed."""
    is_removed: bool = False
    announced: tuple[State, Activity | None] = (State.UNLOADED, None)
    """The last :attr:`announcement` that was published."""

    @property
    def is_wanted(self) -> bool:
        return bool(self.queue) or self.load_reason is not None

    @property
    def wanted_since(self) -> float:
        return min(
            self.queue[0].queued_at if self.queue else NEVER, self.load_requested_at if self.load_reason else NEVER
        )

    @property
    def is_draining(self) -> bool:
        """Whether it ends what it works on and begins nothing, for it is to be loaded with another configuration."""
        return self.phase is Phase.READY and self.rollback is not None

    @property
    def state(self) -> State:
        match self.phase:
            case Phase.READY if self.rollback is not None:
                return State.QUEUED
            case Phase.READY:
                return State.BUSY if self.in_flight else State.READY
            case Phase.STOPPING:
                return State.STOPPING
            case Phase.LOADING | Phase.FETCHING:
                return State.LOADING
        if self.has_failed and (self.retry_at or not self.is_wanted):
            return State.FAILED
        return State.QUEUED if self.is_wanted else State.UNLOADED

    @property
    def refusal(self) -> ModelhostError | None:
        """Why a model whose load was requested is not being loaded, if that is known already."""
        is_on_its_way = self.is_wanted or self.phase is not Phase.UNLOADED
        cannot_fit = isinstance(self.last_error, InsufficientMemory) and not is_on_its_way
        return self.last_error if cannot_fit or self.state is State.FAILED else None

    @property
    def activity(self) -> Activity | None:
        match self.phase:
            case Phase.FETCHING:
                return "download"
            case Phase.LOADING:
                return "load"
        return None

    @property
    def announcement(self) -> tuple[State, Activity | None]:
        """What is worth an event: everything except whether a ready model is busy, which changes with each request."""
        state = self.state
        return State.READY if state is State.BUSY else state, self.activity

    @property
    def is_at_rest(self) -> bool:
        """Whether there is nothing to do for it and nothing to announce, whatever happens to other models."""
        return (
            self.phase is Phase.UNLOADED
            and not self.queue
            and self.load_reason is None
            and not self.retry_at
            and self.announced[0] is (State.FAILED if self.has_failed else State.UNLOADED)
        )

    # When something is due.

    @property
    def idle_seconds(self) -> float | None:
        """How long it stays loaded without requests; ``None``: as long as nothing else needs its memory."""
        seconds = self.policy.idle_unload_seconds if self.kept_seconds is None else self.kept_seconds
        return None if seconds is None or seconds == NEVER or self.policy.is_pinned else seconds

    @property
    def idle_until(self) -> float:
        seconds = self.idle_seconds
        return NEVER if seconds is None else self.last_used + seconds

    def due(self) -> float:
        """Return when time alone changes something: a wait is over, a pause is over, it was idle for long enough."""
        due = self.retry_at or NEVER
        if self.queue and self.phase is not Phase.LOADING:
            due = min(due, *(ticket.deadline for ticket in self.queue))
        elif self.phase is Phase.READY and not self.in_flight:
            due = min(due, self.idle_until)
        return due

    def overdue(self, now: float) -> list[tuple[int, Ticket]]:
        """Return the tickets that have waited too long, with their places in the queue. Loading has its own limit."""
        if self.phase is Phase.LOADING:
            return []
        return [(place, ticket) for place, ticket in enumerate(self.queue, 1) if ticket.deadline <= now]

    # Changes, by the ledger alone.

    def want(self, reason: LoadReason | None, now: float) -> None:
        """Have it loaded though no request waits for it; ``None``: not any more."""
        self.load_reason, self.load_requested_at = reason, now

    def forget_attempts(self, need: Bytes | None) -> None:
        """Treat it as one that was never loaded and needs ``need``; ``None``: its files are inspected again."""
        self.need, self.has_shrunk, self.has_failed, self.retry_at = need, False, False, 0.0

    def restore(self) -> None:
        """Have it as it was before the reload that is under way, if any."""
        if self.rollback is not None:
            self.need, self.has_shrunk, self.rollback = self.rollback.need, self.rollback.has_shrunk, None

    def take_queue(self) -> list[Ticket]:
        """Return the requests that wait, and have none wait any more."""
        waiting = list(self.queue)
        self.queue.clear()
        return waiting

    def enter(self, phase: Phase, now: float) -> None:
        if self.phase is Phase.LOADING:
            for ticket in self.queue:  # the time that a model takes to load is not counted as waiting
                ticket.deadline += now - max(ticket.queued_at, self.began_at)
        self.phase, self.began_at = phase, now

    def leave_memory(self, now: float) -> None:
        """Note that nothing is left of its worker."""
        self.in_flight, self.charge, self.has_worker, self.burst = 0, {}, False, None
        self.is_outdated = self.will_restart = False
        self.kept_seconds = None
        self.enter(Phase.UNLOADED, now)

    # What it is to the planner.

    def resident(self) -> Resident | None:
        """Return what it takes of the budget; ``None`` if nothing."""
        if not self.has_worker:
            return None
        return Resident(
            name=self.name, charge=self.charge, eviction_rank=self._eviction_rank(), last_used=self.last_used
        )

    def _eviction_rank(self) -> EvictionRank:
        if self.phase is Phase.STOPPING:
            return EvictionRank.STOPPING
        if self.policy.is_pinned and not self.is_removed:
            return EvictionRank.PINNED
        if self.phase is Phase.LOADING:
            return EvictionRank.LOADING
        if not self.in_flight:
            return EvictionRank.IDLE
        return EvictionRank.BUSY if self.burst is None else EvictionRank.YIELDING
