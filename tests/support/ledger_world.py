"""A world around the ledger: a clock that the test sets, workers that do as they are told, and books of its own.

The world carries out what the ledger decides and, while doing so, checks it against what it knows itself: who asked and
what became of it, which workers exist, what memory they take.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from modelhost.errors import ModelhostError, QueueTimeout, WorkerCrashed, WorkerStartFailed
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.effects import (
    Effect,
    Fetch,
    Grant,
    Load,
    ModelRemoved,
    Refuse,
    ReloadFinished,
    StateChanged,
    Stop,
)
from modelhost.models.residency.ledger import Ledger
from modelhost.models.residency.planner import BurstLimits
from modelhost.models.residency.record import NEVER, ModelPolicy, Phase, Ticket
from modelhost.models.residency.reports import (
    FilesChanged,
    FilesFound,
    LoadCorrected,
    Loaded,
    LoadFailed,
    MemoryMeasured,
    WorkerLost,
    WorkerStopped,
)
from modelhost.models.residency.status import State
from tests.support.ledger_actors import Fate, Hand, Life, Request

TOLERANCE = 1e-6
GB = 1_000_000_000


class World:
    """A ledger, its clock and its workers.

    ``fetch_seconds``, ``load_seconds`` and ``stop_seconds`` are what these take; with ``None`` the test decides when
    each of them ends. ``sizes`` is what a worker really takes where that is not what the ledger was told.
    """

    def __init__(
        self,
        budget: Mapping[str, int],
        *,
        bursts: BurstLimits | None = None,
        fetch_seconds: float | None = None,
        load_seconds: float | None = None,
        stop_seconds: float | None = None,
    ) -> None:
        self.ledger = Ledger(budget, bursts)
        self.now = 0.0
        self.requests: dict[Ticket, Request] = {}
        self.hands: dict[str, Hand] = {}
        self.needs: dict[str, Mapping[str, int]] = {}
        """What a download finds that a model needs."""
        self.sizes: dict[str, Mapping[str, int]] = {}
        self.loads: list[Load] = []
        self.stops: list[Stop] = []
        self.news: list[tuple[str, str]] = []
        self.settled: list[tuple[str, ModelhostError | None]] = []
        self.on_answer: Callable[[Request], None] = lambda request: None
        self._seconds = {Life.FETCHING: fetch_seconds, Life.LOADING: load_seconds, Life.STOPPING: stop_seconds}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    # What a test does.

    def add(
        self,
        name: str,
        need: Mapping[str, int] | None,
        *,
        is_known: bool = True,
        has_context: bool = True,
        **policy: Any,
    ) -> None:
        """Take a model in. ``is_known``: what it needs is known without a download."""
        self.needs[name] = need or {}
        known = need if is_known else None
        self.act(self.ledger.add(name, ModelPolicy(**policy), known, has_context=has_context))

    def change(self, name: str, *, is_outdated: bool = False, **policy: Any) -> None:
        self.act(self.ledger.change(name, ModelPolicy(**policy), self.now, is_outdated=is_outdated))

    def remove(self, name: str) -> None:
        self.act(self.ledger.remove(name, self.now))

    def ask(self, name: str) -> Request:
        """Send a request, the way that the scheduler does."""
        ticket = Ticket(model=name)
        request = Request(ticket, self.now, self.ledger.record(name).policy.wait_seconds)
        self.requests[ticket] = request
        if self.ledger.grant_immediately(ticket, self.now):
            self.act([Grant(ticket)])
        else:
            self.act(self.ledger.request(ticket, self.now))
        return request

    def finish(self, request: Request) -> None:
        """End a request that was granted; one whose worker has gone gives back what it no longer has."""
        if request.fate is Fate.GRANTED:
            request.fate = Fate.DONE
        self.act(self.ledger.release(request.ticket, self.now))

    def leave(self, request: Request) -> None:
        """The client goes away."""
        if request.fate in (Fate.WAITING, Fate.GRANTED):
            request.fate = Fate.CANCELLED
        self.act(self.ledger.cancel(request.ticket, self.now))

    def request_load(self, name: str) -> None:
        self.act(self.ledger.request_load(name, self.now))

    def reload(self, name: str, need: Mapping[str, int] | None, *, force: bool = False) -> None:
        """Give a model a configuration with which it needs ``need``; ``None``: as its files will say."""
        self.act(self.ledger.reload(name, need, self.now, force=force))

    def unload(self, name: str, *, force: bool = False) -> None:
        self.act(self.ledger.unload(name, self.now, force=force))

    def end_fetch(self, name: str) -> None:
        hand = self._taken(name, Life.FETCHING)
        self.act(self.ledger.report(name, hand.run, FilesFound(self.needs[name]), self.now))

    def end_load(self, name: str) -> None:
        hand = self._hand(name, Life.LOADING)
        hand.life = Life.READY
        self.act(self.ledger.report(name, hand.run, Loaded(hand.memory), self.now))

    def find_outdated(self, name: str) -> None:
        """Before a worker is started its files turn out to be others."""
        hand = self._taken(name, Life.LOADING)
        self.act(self.ledger.report(name, hand.run, FilesChanged(), self.now))

    def fail(self, name: str, *, is_out_of_memory: bool = False) -> None:
        """A load or a download fails."""
        hand = self._taken(name, Life.LOADING, Life.FETCHING)
        error = WorkerStartFailed("It did not start.", model=name, worker=str(hand.run))
        self.act(self.ledger.report(name, hand.run, LoadFailed(error, is_out_of_memory), self.now))

    def correct(self, name: str, need: Mapping[str, int]) -> None:
        """A load fails, and is tried again in a way in which the model needs ``need``."""
        hand = self._taken(name, Life.LOADING)
        self.needs[name] = need
        error = WorkerStartFailed("It did not start.", model=name, worker=str(hand.run))
        self.act(self.ledger.report(name, hand.run, LoadCorrected(need, error), self.now))

    def crash(self, name: str) -> None:
        """A ready worker dies."""
        hand = self._taken(name, Life.READY)
        self._break(hand)
        error = WorkerCrashed("It died.", model=name, worker=str(hand.run))
        self.act(self.ledger.report(name, hand.run, WorkerLost(error), self.now))

    def end_stop(self, name: str) -> None:
        hand = self._taken(name, Life.STOPPING)
        self.act(self.ledger.report(name, hand.run, WorkerStopped(), self.now))

    def measure(self, name: str, memory: Mapping[str, int]) -> None:
        """A ready worker is found to take this much."""
        hand = self._hand(name, Life.READY)
        hand.memory = memory
        self.act(self.ledger.report(name, hand.run, MemoryMeasured(memory), self.now))

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._order), action))

    def advance(self, seconds: float) -> None:
        """Let time pass; the ledger's timers and what is on the agenda come when they are due."""
        self.advance_to(self.now + seconds)

    def advance_to(self, target: float) -> None:
        while (when := self._next()) <= target:
            self._pass(when)
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            if self.ledger.next_timer() <= self.now:
                self.act(self.ledger.tick(self.now))
                assert self.ledger.next_timer() > self.now, "a timer that has come is set again: a busy loop"
        self._pass(target)

    def run_out(self) -> None:
        """Let time pass until nothing is on the agenda."""
        while self._agenda:
            self.advance_to(self._agenda[0][0])

    # What a test asks.

    def of(self, *fates: Fate, model: str | None = None) -> list[Request]:
        return [
            request
            for request in self.requests.values()
            if request.fate in fates and (model is None or request.model == model)
        ]

    def alive(self, *lives: Life) -> list[str]:
        """Return the models whose worker or download is in one of these."""
        return [hand.model for hand in self.hands.values() if hand.life in lives]

    def memory(self) -> dict[str, int]:
        """Return what all workers really take, and their number."""
        found = {MODELS: 0}
        for hand in self._workers():
            found[MODELS] += 1
            for pool, size in hand.memory.items():
                found[pool] = found.get(pool, 0) + size
        return found

    def stopped_for(self, reason: str) -> list[str]:
        return [stop.model for stop in self.stops if stop.reason == reason]

    # What the ledger decides.

    def act(self, effects: Sequence[Effect]) -> None:
        answered: list[Request] = []
        for effect in effects:
            match effect:
                case Grant() | Refuse():
                    answered.append(self._answer(effect))
                case Fetch(name, run):
                    self._begin(Hand(name, run, Life.FETCHING, is_download=True))
                case Load():
                    self._load(effect)
                case Stop():
                    self._stop(effect)
                case ReloadFinished(name, error):
                    self.settled.append((name, error))
                case StateChanged(name):
                    self.news.append((name, self.ledger.record(name).state.value))
                case ModelRemoved(name):
                    assert name not in self.hands, "a model is gone, and its worker is not"
        for request in answered:
            self.on_answer(request)

    def _answer(self, effect: Grant | Refuse) -> Request:
        return self._granted(effect.ticket) if isinstance(effect, Grant) else self._refused(effect.ticket, effect.error)

    def _granted(self, ticket: Ticket) -> Request:
        hand = self._hand(ticket.model, Life.READY)
        assert ticket.run == hand.run, "granted a worker that is not there"
        request = self._answered(ticket, Fate.GRANTED)
        most = self.ledger.record(ticket.model).policy.max_in_flight
        assert len(self.of(Fate.GRANTED, model=ticket.model)) <= most, f"{ticket.model} has too much work"
        return request

    def _refused(self, ticket: Ticket, error: ModelhostError) -> Request:
        request = self._answered(ticket, Fate.REFUSED)
        request.error = error
        is_due = request.waited >= request.wait_seconds - TOLERANCE
        assert is_due or not isinstance(error, QueueTimeout), "timed out before its deadline"
        return request

    def _answered(self, ticket: Ticket, fate: Fate) -> Request:
        request = self.requests[ticket]
        assert request.fate is Fate.WAITING, f"{request.fate} already, and now {fate}"
        request.fate, request.answered_at = fate, self.now
        return request

    def _load(self, load: Load) -> None:
        record = self.ledger.record(load.model)
        need = {pool for pool, count in (record.need or {}).items() if count}
        used = {**self.ledger.occupancy.used(), MODELS: len(self._workers()) + 1}
        over = {pool for pool in (*need, MODELS) if used.get(pool, 0) > self.ledger.occupancy.budget.get(pool, NEVER)}
        assert not over, f"{load.model} is loaded over the budget of {over}"
        self.loads.append(load)
        size = self.sizes.get(load.model, record.need or {})
        self._begin(Hand(load.model, load.run, Life.LOADING, size))

    def _stop(self, stop: Stop) -> None:
        hand = self._hand(stop.model, Life.FETCHING, Life.LOADING, Life.READY)
        assert hand.run == stop.run
        policy = self.ledger.record(stop.model).policy
        if stop.reason != "forced":
            assert not self.of(Fate.GRANTED, model=stop.model), f"{stop.model} is busy, and {stop.reason}"
        assert stop.reason not in ("evicted", "idle") or not policy.is_pinned, "a pinned model is unloaded"
        self._break(hand)
        self.stops.append(stop)
        hand.life = Life.STOPPING
        self._schedule(hand)

    def _begin(self, hand: Hand) -> None:
        assert hand.model not in self.hands, f"{hand.model} is {self.hands[hand.model].life} already"
        self.hands[hand.model] = hand
        self._schedule(hand)

    def _schedule(self, hand: Hand) -> None:
        seconds = self._seconds[hand.life]
        if seconds is None:
            return
        life, run = hand.life, hand.run
        end = {Life.FETCHING: self.end_fetch, Life.LOADING: self.end_load, Life.STOPPING: self.end_stop}[life]

        def end_if_still() -> None:
            present = self.hands.get(hand.model)
            if present is hand and present.life is life and present.run == run:
                end(hand.model)

        self.at(self.now + seconds, end_if_still)

    def _break(self, hand: Hand) -> None:
        for request in self.of(Fate.GRANTED, model=hand.model):
            request.fate = Fate.BROKEN

    def _hand(self, name: str, *lives: Life) -> Hand:
        hand = self.hands.get(name)
        assert hand is not None, f"{name} has no worker"
        assert hand.life in lives, f"{name} is {hand.life}"
        return hand

    def _taken(self, name: str, *lives: Life) -> Hand:
        hand = self._hand(name, *lives)
        del self.hands[name]
        return hand

    def _workers(self) -> list[Hand]:
        return [hand for hand in self.hands.values() if not hand.is_download]

    def _next(self) -> float:
        return min(self.ledger.next_timer(), self._agenda[0][0] if self._agenda else NEVER)

    def _pass(self, when: float) -> None:
        if when <= self.now:
            return
        loading = self.alive(Life.LOADING)
        for request in self.of(Fate.WAITING):
            if request.model not in loading:
                request.waited += when - self.now
        self.now = when

    # What always holds.

    def check(self) -> None:
        """Compare the ledger with the world."""
        for request in self.of(Fate.WAITING):
            assert request.waited <= request.wait_seconds + TOLERANCE, "waited past its deadline"
        for name, record in self.ledger.records.items():
            waiting = [request.ticket for request in self.of(Fate.WAITING, model=name)]
            assert list(record.queue) == waiting, "the queue is not who waits"
            assert record.in_flight == len(self.of(Fate.GRANTED, model=name))
            if waiting and record.phase is Phase.READY and record.burst is None:
                assert record.in_flight >= record.policy.max_in_flight, f"{name} has a place that nobody is given"
            assert self.ledger.next_timer() <= record.due(), f"something of {name} is due before the timer"
        assert self.ledger.next_timer() > self.now, "a timer is over and was not told"
        assert len(self.of(Fate.WAITING)) == sum(len(record.queue) for record in self.ledger.records.values())
        if not self.of(Fate.GRANTED) and not self.alive(Life.FETCHING, Life.LOADING, Life.STOPPING):
            in_vain = [
                record.name for record in self.ledger.records.values() if record.is_wanted and not record.retry_at
            ]
            assert not in_vain, f"nothing goes on, and {in_vain} wait"

    def check_empty(self) -> None:
        """What a ledger is when everybody has gone."""
        assert not self.hands
        assert self.ledger.occupancy.used() == {}
        assert self.ledger.next_timer() == NEVER or any(record.retry_at for record in self.ledger.records.values())
        for record in self.ledger.records.values():
            assert not record.queue
            assert (record.in_flight, record.load_reason, record.burst, record.charge, record.has_worker) == (
                0,
                None,
                None,
                {},
                False,
            )
            assert self.ledger.queue_position(record.name) is None


LOAD_SECONDS = 2.0
STOP_SECONDS = 0.5


def manual(ram: int = 10, **budget: int) -> World:
    """A world in which the test says when loads and stops are over."""
    return World({"ram": ram * GB, **budget})


def running(ram: int = 10, *, bursts: BurstLimits | None = None, **budget: int) -> World:
    """A world in which loads and stops take their time."""
    return World(
        {"ram": ram * GB, **budget},
        bursts=bursts,
        fetch_seconds=0.1,
        load_seconds=LOAD_SECONDS,
        stop_seconds=STOP_SECONDS,
    )


def gigabytes(count: float) -> dict[str, int]:
    return {"ram": round(count * GB)}


def state(world: World, name: str) -> State:
    return world.ledger.record(name).state


def ready(world: World, *names: str) -> None:
    """Have models loaded, with nothing to do."""
    for name in names:
        world.request_load(name)
        world.advance(LOAD_SECONDS + STOP_SECONDS)
        if world.alive(Life.LOADING):
            world.end_load(name)
        assert state(world, name) is State.READY
        world.advance(0.01)
