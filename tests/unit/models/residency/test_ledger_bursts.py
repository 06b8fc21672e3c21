"""Bursts: models that do not fit together take turns, and nobody starves."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.planner import Burst, BurstLimits, may_start_request
from modelhost.models.residency.status import State
from tests.support.ledger_actors import Fate, Request
from tests.support.ledger_world import LOAD_SECONDS, STOP_SECONDS, World, gigabytes, manual, ready, running, state

times = st.floats(0, 1e6)


@given(st.builds(BurstLimits, requests=st.integers(1, 100), seconds=st.floats(0.1, 100)), times)
def test_nothing_is_bound_as_long_as_nobody_waits(bursts: BurstLimits, now: float) -> None:
    assert may_start_request(None, bursts, now)


@given(st.integers(1, 50), times)
def test_a_burst_begins_exactly_as_many_requests_as_it_may(requests: int, now: float) -> None:
    bursts, begun = BurstLimits(requests=requests, seconds=10), 0
    while may_start_request(Burst(since=now, begun=begun), bursts, now):
        begun += 1
    assert begun == requests


@given(st.integers(0, 31), st.floats(0, 20))
def test_a_burst_ends_with_its_time_however_few_it_has_begun(begun: int, seconds: float) -> None:
    bursts = BurstLimits(requests=32, seconds=5)
    assert may_start_request(Burst(since=100, begun=begun), bursts, 100 + seconds) == (100 + seconds - 100 < 5)


@given(st.integers(0, 40), times, times)
def test_a_burst_that_is_over_does_not_begin_again(begun: int, one: float, other: float) -> None:
    bursts = BurstLimits()
    earlier, later = sorted((one, other))
    if not may_start_request(Burst(since=0, begun=begun), bursts, earlier):
        assert not may_start_request(Burst(since=0, begun=begun), bursts, later)
        assert not may_start_request(Burst(since=0, begun=begun + 1), bursts, earlier)


class Clients:
    """Clients that each send one request after the other, to a model of their choice."""

    def __init__(self, world: World, choose: Callable[[], str], *, count: int, total: int, seconds: float) -> None:
        self.world, self.choose, self.seconds = world, choose, seconds
        self.left = total
        self.answers: list[Request] = []
        world.on_answer = self._answered
        for _ in range(count):
            self._send()

    def _send(self) -> None:
        if self.left:
            self.left -= 1
            self.world.at(self.world.now, lambda: self.world.ask(self.choose()))

    def _answered(self, request: Request) -> None:
        self.answers.append(request)
        if request.fate is Fate.REFUSED:
            self._send()
        else:
            self.world.at(self.world.now + self.seconds, lambda: self._done(request))

    def _done(self, request: Request) -> None:
        self.world.finish(request)
        self._send()


@pytest.mark.parametrize("seconds", [0.01, 0.3, 2.0])
def test_twenty_clients_of_three_models_are_served_in_bursts_and_nobody_starves(seconds: float) -> None:
    world = running(bursts=BurstLimits(requests=32, seconds=5))
    names = ("ant", "bee", "cat")
    for name in names:
        world.add(name, gigabytes(8), queue_size=20, wait_seconds=60, max_in_flight=4)
    order = random.Random(7)
    clients = Clients(world, lambda: order.choice(names), count=20, total=200, seconds=seconds)
    world.run_out()
    assert [request.fate for request in clients.answers] == [Fate.DONE] * 200
    swaps = len(world.stopped_for("evicted"))
    assert 2 <= swaps <= 40
    longest = max(request.seconds for request in clients.answers)
    # Two others have a burst and a swap before it, and finish what they have begun.
    assert longest <= 3 * (5 + seconds + LOAD_SECONDS + STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Models, and clients that ask for some of them more often than for others."""

    sizes: list[int]
    weights: list[int]
    budget: int
    max_models: int
    bursts: BurstLimits
    seconds: float
    clients: int
    seed: int


traffic = st.builds(
    Traffic,
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=6),
    weights=st.lists(st.sampled_from([1, 5, 30]), min_size=6, max_size=6),
    budget=st.integers(8, 20),
    max_models=st.sampled_from([10, 2, 1]),
    bursts=st.builds(BurstLimits, requests=st.sampled_from([2, 32, 1000]), seconds=st.sampled_from([0.5, 5.0])),
    seconds=st.sampled_from([0.05, 0.5, 10.0]),
    clients=st.integers(1, 30),
    seed=st.integers(0, 1000),
)


@settings(max_examples=20, deadline=None)
@given(traffic)
def test_nobody_starves_whatever_the_sizes_and_the_traffic(traffic: Traffic) -> None:
    world = running(ram=traffic.budget, bursts=traffic.bursts, **{MODELS: traffic.max_models})
    names = [f"model-{index}" for index in range(len(traffic.sizes))]
    for name, size in zip(names, traffic.sizes, strict=True):
        world.add(name, gigabytes(size), queue_size=traffic.clients, wait_seconds=1e6)
    order = random.Random(traffic.seed)
    choose = partial(order.choices, names, traffic.weights[: len(names)])
    clients = Clients(world, lambda: choose()[0], count=traffic.clients, total=150, seconds=traffic.seconds)
    world.run_out()
    assert [request.fate for request in clients.answers] == [Fate.DONE] * 150
    turn = traffic.bursts.seconds + traffic.seconds + STOP_SECONDS + LOAD_SECONDS
    assert max(request.seconds for request in clients.answers) <= len(names) * turn


def test_steady_requests_for_one_model_do_not_keep_another_one_waiting() -> None:
    world = running(bursts=BurstLimits(requests=1000, seconds=5))
    world.add("ant", gigabytes(8))
    world.add("bee", gigabytes(8))
    ready(world, "ant")
    Clients(world, lambda: "ant", count=5, total=400, seconds=0.4)
    world.advance(1)
    request = world.ask("bee")
    world.advance(5 + 0.4 + STOP_SECONDS + LOAD_SECONDS)
    assert request.fate in (Fate.GRANTED, Fate.DONE)


def test_a_burst_is_over_after_so_many_requests() -> None:
    world = manual()
    world.ledger.bursts = BurstLimits(requests=3, seconds=1000)
    world.add("ant", gigabytes(8))
    world.add("bee", gigabytes(8))
    ready(world, "ant")
    at_work = world.ask("ant")
    world.ask("bee")
    burst = [world.ask("ant") for _ in range(3)]
    late = world.ask("ant")
    assert {request.fate for request in burst} == {Fate.GRANTED}
    assert late.fate is Fate.WAITING
    for request in (at_work, *burst):
        world.finish(request)
    assert (world.stopped_for("evicted"), late.fate) == (["ant"], Fate.WAITING)
    world.end_stop("ant")
    world.end_load("bee")
    assert state(world, "bee") is State.BUSY
    world.finish(world.of(Fate.GRANTED)[0])
    assert world.stopped_for("evicted") == ["ant", "bee"]


def test_of_two_busy_models_the_one_that_makes_room_stays_the_same() -> None:
    world = manual()
    for name in ("ant", "bee", "cat"):
        world.add(name, gigabytes(5))
    ready(world, "ant", "bee")
    world.ask("ant")
    world.advance(0.1)
    world.ask("bee")
    world.ask("cat")
    for name in ("ant", "bee", "ant"):
        world.advance(0.1)
        world.ask(name)
        world.leave(world.ask("cat"))
        assert world.ledger.record("ant").burst is not None
        assert world.ledger.record("bee").burst is None


def test_a_model_that_is_idle_when_others_make_room_serves_on_until_they_are_done() -> None:
    world = manual()
    world.ledger.bursts = BurstLimits(requests=1000, seconds=5)
    world.add("ant", gigabytes(5))
    world.add("bee", gigabytes(5))
    world.add("cat", gigabytes(10), wait_seconds=1000)
    ready(world, "ant", "bee")
    at_work = world.ask("ant")
    world.ask("cat")
    world.advance(60)
    assert world.ask("ant").fate is Fate.WAITING
    served = world.ask("bee")
    assert served.fate is Fate.GRANTED
    world.finish(served)
    last = world.ask("bee")
    world.finish(at_work)
    assert world.ask("bee").fate is Fate.WAITING
    world.finish(last)
    assert sorted(world.stopped_for("evicted")) == ["ant", "bee"]
