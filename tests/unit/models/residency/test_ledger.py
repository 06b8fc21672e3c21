"""What the ledger decides, one behaviour at a time, with a clock and workers that do as they are told."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelhost.errors import (
    InsufficientMemory,
    ModelBusy,
    ModelFailed,
    ModelNotFound,
    ModelUnloaded,
    QueueFull,
    QueueTimeout,
    ShuttingDown,
)
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency import refusals
from modelhost.models.residency.planner import BurstLimits
from modelhost.models.residency.record import FIRST_SECONDS, HEALTHY_SECONDS, NEVER, ModelPolicy, Phase
from modelhost.models.residency.reports import LoadCorrected, MemoryMeasured, WorkerStopped
from modelhost.models.residency.status import State
from modelhost.models.resolve.headroom import Headroom
from tests.support.ledger_world import GB, Fate, Life, Request, World

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


# Loading.


def test_a_request_for_a_model_that_is_not_loaded_loads_it_and_begins() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    request = world.ask("ant")
    assert (request.fate, state(world, "ant")) == (Fate.WAITING, State.LOADING)
    world.end_load("ant")
    assert (request.fate, state(world, "ant")) == (Fate.GRANTED, State.BUSY)
    world.finish(request)
    assert state(world, "ant") is State.READY


def test_a_second_request_for_a_loading_model_joins_the_same_load() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    first, second = world.ask("ant"), world.ask("ant")
    assert len(world.loads) == 1
    world.end_load("ant")
    assert (first.fate, second.fate) == (Fate.GRANTED, Fate.GRANTED)
    assert (first.ticket.position, second.ticket.position) == (1, 2)


def test_a_request_that_need_not_wait_has_no_position() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1)
    ready(world, "ant")
    request = world.ask("ant")
    assert (request.fate, request.ticket.position) == (Fate.GRANTED, 0)
    assert world.ask("ant").ticket.position == 1


def test_what_a_model_needs_is_found_out_before_it_is_loaded() -> None:
    world = manual()
    world.add("ant", gigabytes(4), is_known=False)
    request = world.ask("ant")
    assert (state(world, "ant"), world.ledger.record("ant").activity) == (State.LOADING, "download")
    assert world.ledger.occupancy.used() == {}
    world.end_fetch("ant")
    assert (len(world.loads), world.ledger.occupancy.used()) == (1, gigabytes(4))
    world.end_load("ant")
    assert request.fate is Fate.GRANTED


def test_two_models_that_fit_together_are_loaded_together() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.add("bee", gigabytes(6))
    world.ask("ant")
    world.ask("bee")
    assert world.alive(Life.LOADING) == ["ant", "bee"]


def test_a_model_is_not_loaded_before_the_memory_of_another_one_is_back() -> None:
    world = manual()
    world.add("ant", gigabytes(6))
    world.add("bee", gigabytes(6))
    ready(world, "ant")
    world.ask("bee")
    assert (world.stopped_for("evicted"), state(world, "bee")) == (["ant"], State.QUEUED)
    assert world.ledger.queue_position("bee") == 1
    world.end_stop("ant")
    assert state(world, "bee") is State.LOADING
    assert world.ledger.record("ant").evictions == 1


def test_a_wish_during_a_download_is_not_forgotten_when_its_requests_have_left() -> None:
    world = manual()
    world.add("ant", gigabytes(4), is_known=False)
    request = world.ask("ant")
    world.request_load("ant")
    world.leave(request)
    world.end_fetch("ant")
    assert state(world, "ant") is State.LOADING


# Waiting.


def test_a_full_queue_refuses_at_once() -> None:
    world = manual()
    world.add("ant", gigabytes(4), queue_size=2)
    world.ask("ant")
    world.ask("ant")
    error = world.ask("ant").error
    assert isinstance(error, QueueFull)
    assert error.retry_after_seconds >= 1
    assert error.details == {"model": "ant", "queue_length": 2, "state": "loading"}


def test_a_wait_that_is_over_says_where_the_request_stood() -> None:
    world = manual()
    world.add("ant", gigabytes(6), max_in_flight=1)
    world.add("bee", gigabytes(6), wait_seconds=10)
    ready(world, "ant")
    world.ask("ant")
    first = world.ask("bee")
    world.advance(1)
    second = world.ask("bee")
    world.advance(9)
    assert isinstance(first.error, QueueTimeout)
    assert first.error.details == {
        "model": "bee",
        "state": "queued",
        "position": 1,
        "position_at_first": 1,
        "queue_length": 2,
    }
    assert "number 1 of 2 waiting for bee (queued)" in first.error.message
    world.advance(1)
    assert isinstance(second.error, QueueTimeout)
    assert (second.error.details["position"], second.error.details["position_at_first"]) == (1, 2)
    assert state(world, "bee") is State.UNLOADED


def test_a_shorter_wait_that_came_later_ends_first() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1, wait_seconds=30)
    ready(world, "ant")
    world.ask("ant")
    patient = world.ask("ant")
    world.change("ant", max_in_flight=1, wait_seconds=5)
    hasty = world.ask("ant")
    world.advance(5)
    assert (patient.fate, hasty.fate) == (Fate.WAITING, Fate.REFUSED)
    assert isinstance(hasty.error, QueueTimeout)
    assert hasty.error.details["position"] == 2


def test_the_time_that_a_model_takes_to_load_is_not_counted_as_waiting() -> None:
    world = manual()
    world.add("ant", gigabytes(4), wait_seconds=10, max_in_flight=1)
    early = world.ask("ant")
    world.advance(300)
    late = world.ask("ant")
    world.advance(300)
    assert (early.fate, late.fate) == (Fate.WAITING, Fate.WAITING)
    world.end_load("ant")
    assert early.fate is Fate.GRANTED
    world.advance(9)
    assert late.fate is Fate.WAITING
    world.advance(1)
    assert isinstance(late.error, QueueTimeout)


def test_a_download_is_counted_as_waiting_and_goes_on_without_its_requests() -> None:
    world = manual()
    world.add("ant", gigabytes(4), is_known=False, wait_seconds=10)
    request = world.ask("ant")
    world.advance(10)
    assert isinstance(request.error, QueueTimeout)
    assert "being downloaded" in request.error.message
    world.end_fetch("ant")
    assert (state(world, "ant"), world.ledger.record("ant").need) == (State.UNLOADED, gigabytes(4))


def test_a_queued_client_that_leaves_gives_up_its_place() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1)
    ready(world, "ant")
    at_work, leaving, staying = world.ask("ant"), world.ask("ant"), world.ask("ant")
    world.leave(leaving)
    world.finish(at_work)
    assert (leaving.fate, staying.fate) == (Fate.CANCELLED, Fate.GRANTED)


def test_the_only_client_of_a_waiting_model_that_leaves_has_it_not_loaded() -> None:
    world = manual()
    world.ledger.bursts = BurstLimits(requests=0)
    world.add("ant", gigabytes(6))
    world.add("bee", gigabytes(6))
    ready(world, "ant")
    at_work, leaving = world.ask("ant"), world.ask("bee")
    held_back = world.ask("ant")
    assert held_back.fate is Fate.WAITING
    world.leave(leaving)
    assert held_back.fate is Fate.GRANTED
    world.finish(held_back)
    world.finish(at_work)
    assert (state(world, "ant"), state(world, "bee"), world.stops) == (State.READY, State.UNLOADED, [])


def test_a_client_that_leaves_while_it_has_its_turn_makes_room_for_the_next() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1)
    ready(world, "ant")
    at_work, waiting = world.ask("ant"), world.ask("ant")
    world.leave(at_work)
    assert waiting.fate is Fate.GRANTED


def test_everyone_who_waits_is_refused_when_the_host_stops() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1)
    ready(world, "ant")
    at_work, waiting = world.ask("ant"), world.ask("ant")
    world.act(world.ledger.refuse_waiting(refusals.shutting_down))
    assert at_work.fate is Fate.GRANTED
    assert isinstance(waiting.error, ShuttingDown)


# Making room.


def test_a_busy_model_is_never_evicted_and_goes_when_it_is_idle() -> None:
    world = manual()
    world.add("ant", gigabytes(6))
    world.add("bee", gigabytes(6))
    ready(world, "ant")
    at_work, waiting = world.ask("ant"), world.ask("bee")
    world.advance(20)
    assert (world.stops, waiting.fate) == ([], Fate.WAITING)
    world.finish(at_work)
    assert world.stopped_for("evicted") == ["ant"]


def test_the_model_just_asked_for_is_not_the_one_that_goes() -> None:
    world = running()
    for name in ("ant", "bee", "cat"):
        world.add(name, gigabytes(5))
    ready(world, "ant", "bee")
    world.finish(world.ask("ant"))
    world.ask("cat")
    assert world.stopped_for("evicted") == ["bee"]


def test_a_pinned_model_is_never_evicted_nor_unloaded_when_idle() -> None:
    world = running()
    world.add("ant", gigabytes(5), is_pinned=True, idle_unload_seconds=1)
    world.add("bee", gigabytes(5))
    world.add("cat", gigabytes(5))
    ready(world, "ant", "bee")
    world.finish(world.ask("bee"))
    request = world.ask("cat")
    world.advance(60)
    assert request.fate is Fate.GRANTED
    assert [stop.model for stop in world.stops] == ["bee"]


def test_a_model_that_cannot_fit_is_told_what_is_missing_and_who_holds_it() -> None:
    world = manual()
    world.add("ant", gigabytes(6), is_pinned=True)
    world.add("bee", gigabytes(5))
    ready(world, "ant")
    error = world.ask("bee").error
    assert isinstance(error, InsufficientMemory)
    assert error.details["missing_mb"] == {"ram": 1000}
    assert error.details["holders"] == {"ant": {"ram": 6000}}
    assert "1,000 MB of ram missing, pinned models hold it: ant (6,000 MB of ram)" in error.message
    assert "--memory-budget" in error.message
    assert state(world, "bee") is State.UNLOADED


@pytest.mark.promise("llm-server.loading.no-limits")
def test_a_model_larger_than_the_budget_is_told_so() -> None:
    world = manual()
    world.add("ant", gigabytes(12))
    error = world.ask("ant").error
    assert isinstance(error, InsufficientMemory)
    assert (error.details["missing_mb"], error.details["holders"]) == ({"ram": 2000}, {})
    assert (error.details["required_mb"], error.details["available_mb"]) == (12_000, 10_000)
    assert error.details["suggestion"] == "Give it a smaller context, or raise --memory-budget."
    assert "the budget is smaller than the model" in error.message


def test_pinned_models_that_take_all_places_are_told_by_the_limit_on_their_number() -> None:
    world = manual(**{MODELS: 1})
    world.add("ant", gigabytes(1), is_pinned=True)
    world.add("bee", gigabytes(1))
    ready(world, "ant")
    error = world.ask("bee").error
    assert isinstance(error, InsufficientMemory)
    assert "one place for a model missing" in error.message
    assert error.message.endswith("raise --max-models.")


@pytest.mark.promise("vllm-crush.security.limits")
def test_at_most_so_many_models_are_loaded_as_are_allowed() -> None:
    world = running(**{MODELS: 2})
    for name in ("ant", "bee", "cat"):
        world.add(name, gigabytes(1))
    ready(world, "ant", "bee")
    world.ask("cat")
    assert world.stopped_for("evicted") == ["ant"]


def test_a_small_model_overtakes_one_that_waits_if_that_takes_nothing_from_it() -> None:
    world = manual(ram=10)
    world.add("ant", gigabytes(6))
    world.add("bee", gigabytes(8))
    world.add("tiny", gigabytes(2))
    world.add("small", gigabytes(3))
    ready(world, "ant")
    at_work = world.ask("ant")
    world.ask("bee")
    world.ask("small")
    world.ask("tiny")
    assert (state(world, "bee"), state(world, "small")) == (State.QUEUED, State.QUEUED)
    assert state(world, "tiny") is State.LOADING
    world.finish(at_work)
    world.end_stop("ant")
    assert (state(world, "bee"), state(world, "small")) == (State.LOADING, State.QUEUED)


def test_a_later_model_that_fits_beside_the_first_waits_for_its_memory_all_the_same() -> None:
    world = manual(ram=10)
    world.add("ant", gigabytes(9))
    world.add("bee", gigabytes(5))
    world.add("cat", gigabytes(4))
    ready(world, "ant")
    world.ask("bee")
    world.ask("cat")
    assert (state(world, "bee"), state(world, "cat")) == (State.QUEUED, State.QUEUED)
    assert (world.ledger.queue_position("bee"), world.ledger.queue_position("cat")) == (1, 2)
    world.end_stop("ant")
    assert (state(world, "bee"), state(world, "cat")) == (State.LOADING, State.LOADING)


def test_idle_models_make_room_for_a_later_one_whose_memory_nobody_before_it_needs() -> None:
    world = World({"gpu:0": 8, "gpu:1": 8})
    world.add("ant", {"gpu:0": 8})
    world.add("bee", {"gpu:0": 8})
    world.add("cat", {"gpu:1": 8})
    world.add("dog", {"gpu:1": 8})
    ready(world, "ant", "cat")
    at_work = world.ask("ant")
    world.ask("bee")
    world.ask("dog")
    assert world.stopped_for("evicted") == ["cat"]
    world.end_stop("cat")
    assert (state(world, "bee"), state(world, "dog")) == (State.QUEUED, State.LOADING)
    world.finish(at_work)
    assert world.stopped_for("evicted") == ["cat", "ant"]


def test_models_that_turn_out_larger_than_thought_go_until_the_budget_holds() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.add("bee", gigabytes(4))
    ready(world, "ant", "bee")
    at_work = world.ask("bee")
    world.measure("bee", gigabytes(7))
    assert world.stopped_for("evicted") == ["ant"]
    world.measure("bee", gigabytes(12))
    world.finish(at_work)
    assert state(world, "bee") is State.READY


def test_a_busy_model_over_the_budget_goes_when_it_is_idle() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.add("bee", gigabytes(4))
    ready(world, "ant", "bee")
    one, other = world.ask("ant"), world.ask("bee")
    world.measure("bee", gigabytes(7))
    assert world.stops == []
    world.finish(one)
    assert world.stopped_for("evicted") == ["ant"]
    world.finish(other)
    assert world.stopped_for("evicted") == ["ant"]


def test_what_a_model_took_is_what_it_needs_the_next_time() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.sizes["ant"] = gigabytes(5)
    ready(world, "ant")
    assert world.ledger.occupancy.used() == gigabytes(5)
    world.measure("ant", gigabytes(6))
    world.measure("ant", gigabytes(3))
    assert world.ledger.occupancy.used() == gigabytes(6)
    world.unload("ant")
    world.end_stop("ant")
    world.sizes["ant"] = gigabytes(2)
    ready(world, "ant")
    assert world.ledger.occupancy.used() == gigabytes(6)
    world.unload("ant")
    world.end_stop("ant")
    world.ask("ant")
    assert world.ledger.occupancy.used() == gigabytes(6)


# Bursts.


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


# Failures.


def test_a_crash_is_restarted_after_a_pause_that_doubles() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    for pause in (FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS):
        world.crash("ant")
        assert state(world, "ant") is State.QUEUED
        world.advance(pause * 0.99)
        assert world.alive(Life.LOADING) == []
        world.advance(pause * 0.02)
        assert world.alive(Life.LOADING) == ["ant"]
        world.end_load("ant")
    world.advance(HEALTHY_SECONDS)
    world.crash("ant")
    world.advance(FIRST_SECONDS)
    assert world.alive(Life.LOADING) == ["ant"]


def test_requests_wait_while_a_crashed_worker_is_restarted() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    broken = world.ask("ant")
    world.crash("ant")
    waiting = world.ask("ant")
    world.finish(broken)
    world.advance(FIRST_SECONDS)
    world.end_load("ant")
    assert (waiting.fate, world.ledger.record("ant").in_flight) == (Fate.GRANTED, 1)


def test_a_crashed_worker_is_not_restarted_at_the_cost_of_another_model() -> None:
    world = manual()
    world.add("ant", gigabytes(6))
    world.add("bee", gigabytes(6))
    ready(world, "ant")
    world.crash("ant")
    world.ask("bee")
    world.end_load("bee")
    world.advance(60)
    assert (state(world, "ant"), state(world, "bee"), world.stops) == (State.UNLOADED, State.BUSY, [])


def test_a_load_that_runs_out_of_memory_is_tried_once_more_and_smaller() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    request = world.ask("ant")
    world.fail("ant", is_out_of_memory=True)
    assert [load.is_smaller for load in world.loads] == [False, True]
    assert request.fate is Fate.WAITING
    world.fail("ant", is_out_of_memory=True)
    assert len(world.loads) == 2
    assert isinstance(request.error, ModelFailed)
    assert state(world, "ant") is State.FAILED


def test_a_load_that_is_corrected_is_tried_again_at_once_with_what_it_needs_then() -> None:
    world = World({"ram": 8, "gpu:0": 8})
    world.add("ant", {"gpu:0": 8})
    world.add("bee", {"ram": 6})
    ready(world, "bee")
    request = world.ask("ant")
    world.correct("ant", {"ram": 4, "gpu:0": 4})
    assert (len(world.loads), state(world, "bee")) == (2, State.STOPPING)  # its place is needed now
    world.end_stop("bee")
    assert (len(world.loads), request.fate) == (3, Fate.WAITING)
    world.end_load("ant")
    assert (request.fate, world.ledger.occupancy.used()) == (Fate.GRANTED, {"ram": 4, "gpu:0": 4})
    assert world.ledger.report("ant", 1, LoadCorrected({}, ModelFailed("late news")), world.now) == []


def test_a_model_finds_the_memory_of_gpus_that_the_others_give_back() -> None:
    world = World({"ram": 8, "gpu:0": 8, "gpu:1": 8})
    world.add("ant", {"ram": 1, "gpu:0": 3})
    world.add("bee", {"ram": 1, "gpu:0": 2, "gpu:1": 1}, is_pinned=True)
    world.add("cat", None, is_known=False)
    ready(world, "ant")
    limits = {"gpu:0": 6, "gpu:1": 7}
    assert world.ledger.occupancy.headroom("cat") == Headroom(freed={"gpu:0": 3}, limits=limits)
    ready(world, "bee")
    assert world.ledger.occupancy.headroom("cat") == Headroom(freed={"gpu:0": 3}, limits=limits)
    own = Headroom(freed={"gpu:0": 5, "gpu:1": 1}, limits={"gpu:0": 8, "gpu:1": 8})
    assert world.ledger.occupancy.headroom("bee") == own


def test_a_failed_model_refuses_at_once_until_it_is_time_to_try_again() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    for _ in range(7):  # pauses of 0.1 to 6.4 s
        first = world.ask("ant")
        world.fail("ant")
        assert isinstance(first.error, ModelFailed)
        assert "It did not start." in first.error.message
        last_pause = world.ledger.record("ant").retry_at - world.now
        at_once = world.ask("ant")
        assert isinstance(at_once.error, ModelFailed)
        assert at_once.error.retry_after_seconds >= last_pause
        assert not world.alive(Life.LOADING)
        world.advance(last_pause)
        assert state(world, "ant") is State.FAILED
    assert last_pause == pytest.approx(6.4)
    request = world.ask("ant")
    assert state(world, "ant") is State.LOADING
    world.end_load("ant")
    assert (request.fate, world.ledger.record("ant").last_error) == (Fate.GRANTED, None)


def test_asking_for_a_failed_model_to_be_loaded_tries_it_now() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.ask("ant")
    world.fail("ant")
    world.request_load("ant")
    assert state(world, "ant") is State.LOADING


def test_a_pinned_model_that_failed_is_tried_again_by_itself() -> None:
    world = manual()
    world.add("ant", gigabytes(4), is_pinned=True)
    world.request_load("ant")
    world.fail("ant")
    assert state(world, "ant") is State.FAILED
    world.advance(FIRST_SECONDS)
    assert state(world, "ant") is State.LOADING


def test_a_healthy_life_that_was_ended_on_purpose_begins_the_pauses_anew() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    for _ in range(5):
        world.request_load("ant")
        world.fail("ant")
    ready(world, "ant")
    world.advance(HEALTHY_SECONDS)
    world.unload("ant")
    world.end_stop("ant")
    world.request_load("ant")
    world.fail("ant")
    assert world.ledger.record("ant").retry_at == pytest.approx(world.now + FIRST_SECONDS)


# Unloading.


def test_an_idle_model_is_unloaded_after_its_time() -> None:
    world = running()
    world.add("ant", gigabytes(4), idle_unload_seconds=60)
    ready(world, "ant")
    world.advance(50)
    request = world.ask("ant")
    world.advance(100)
    assert state(world, "ant") is State.BUSY
    world.finish(request)
    world.advance(59)
    assert state(world, "ant") is State.READY
    world.advance(1)
    assert (state(world, "ant"), world.stopped_for("idle")) == (State.STOPPING, ["ant"])
    world.advance(STOP_SECONDS)
    assert (state(world, "ant"), world.ledger.next_timer()) == (State.UNLOADED, NEVER)


def test_a_busy_model_is_unloaded_by_force_only() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1)
    ready(world, "ant")
    at_work, waiting = world.ask("ant"), world.ask("ant")
    with pytest.raises(ModelBusy, match="1 requests at work and 1 waiting"):
        world.unload("ant")
    world.unload("ant", force=True)
    assert (at_work.fate, world.stopped_for("forced")) == (Fate.BROKEN, ["ant"])
    assert world.ledger.record("ant").in_flight == 0
    assert isinstance(waiting.error, ModelUnloaded)
    world.finish(at_work)
    world.end_stop("ant")
    world.check_empty()


def test_an_unloaded_model_comes_back_with_the_next_request() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    world.unload("ant")
    request = world.ask("ant")
    assert len(world.loads) == 1
    world.end_stop("ant")
    world.end_load("ant")
    assert request.fate is Fate.GRANTED


# The registry changes.


def test_a_worker_whose_entry_has_changed_is_replaced_when_it_is_idle() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    at_work = world.ask("ant")
    world.needs["ant"] = gigabytes(9)
    world.change("ant", is_outdated=True)
    assert world.stops == []
    world.advance(10)
    waiting = world.ask("ant")
    assert waiting.fate is Fate.WAITING
    world.finish(at_work)
    assert world.stopped_for("changed") == ["ant"]
    world.end_stop("ant")
    world.end_fetch("ant")
    assert world.ledger.occupancy.used() == gigabytes(9)
    world.end_load("ant")
    assert waiting.fate is Fate.GRANTED


def test_a_model_whose_files_are_others_is_looked_at_again_and_makes_room_for_what_it_needs_now() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.add("bee", gigabytes(4))
    ready(world, "ant", "bee")
    world.unload("ant")
    world.end_stop("ant")
    world.needs["ant"] = gigabytes(9)
    waiting = world.ask("ant")
    world.find_outdated("ant")
    assert world.ledger.occupancy.used() == gigabytes(4)
    world.end_fetch("ant")
    assert world.stopped_for("evicted") == ["bee"]
    world.end_stop("bee")
    assert world.ledger.occupancy.used() == gigabytes(9)
    world.end_load("ant")
    assert waiting.fate is Fate.GRANTED


def test_a_model_that_is_no_longer_wanted_is_looked_at_again_when_it_is() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    request = world.ask("ant")
    world.leave(request)
    world.find_outdated("ant")
    assert state(world, "ant") is State.UNLOADED
    world.request_load("ant")
    assert world.alive(Life.FETCHING) == ["ant"]


def test_new_terms_alone_leave_the_worker_where_it_is() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    world.change("ant", max_in_flight=1)
    world.ask("ant")
    assert (world.ask("ant").fate, world.stops) == (Fate.WAITING, [])


def test_a_removed_model_finishes_its_requests_and_refuses_who_waits() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1)
    ready(world, "ant")
    at_work, waiting = world.ask("ant"), world.ask("ant")
    world.remove("ant")
    late = world.ask("ant")
    assert isinstance(waiting.error, ModelNotFound)
    assert isinstance(late.error, ModelNotFound)
    assert at_work.fate is Fate.GRANTED
    world.finish(at_work)
    world.end_stop("ant")
    assert world.ledger.records == {}


def test_a_removed_model_that_is_added_again_while_its_worker_stops_is_loaded_after_that() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    world.remove("ant")
    with pytest.raises(ValueError, match="already"):
        world.ledger.add("ant", ModelPolicy())
    world.change("ant", is_outdated=True)
    request = world.ask("ant")
    assert len(world.loads) == 1
    world.end_stop("ant")
    world.end_fetch("ant")
    world.end_load("ant")
    assert request.fate is Fate.GRANTED


def test_a_request_of_an_earlier_model_of_the_same_name_ends_nothing_of_the_new_one() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    old = world.ask("ant")
    world.unload("ant", force=True)
    world.remove("ant")
    world.end_stop("ant")
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    world.ask("ant")
    world.finish(old)
    assert world.ledger.record("ant").in_flight == 1


def test_a_removed_model_stops_being_loaded() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.ask("ant")
    world.remove("ant")
    world.end_stop("ant")
    assert (world.ledger.records, world.ledger.occupancy.used()) == ({}, {})


# What is told.


def test_a_model_that_cannot_fit_with_another_configuration_has_the_earlier_one_again() -> None:
    world = running(10)
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    world.needs["ant"] = gigabytes(11)
    world.reload("ant", None)  # its files have to be looked at
    waiting = world.ask("ant")
    world.run_out()
    ((name, error),) = world.settled
    assert (name, type(error)) == ("ant", InsufficientMemory)
    assert waiting.fate is Fate.GRANTED
    assert world.ledger.record("ant").need == gigabytes(4)


def test_a_worker_that_dies_while_it_makes_way_for_another_configuration_is_followed_by_that() -> None:
    world = running(10)
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    world.ask("ant")
    world.reload("ant", gigabytes(6))
    world.crash("ant")
    world.advance(FIRST_SECONDS + LOAD_SECONDS)
    assert (state(world, "ant"), world.memory()["ram"]) == (State.READY, 6 * GB)
    assert world.settled == [("ant", None)]


def test_another_model_that_waits_longer_is_loaded_before_a_reload() -> None:
    world = running(10)
    world.add("ant", gigabytes(6))
    world.add("bee", gigabytes(6))
    ready(world, "ant")
    held = world.ask("ant")
    bee = world.ask("bee")
    world.reload("ant", gigabytes(7))
    world.finish(held)
    world.run_out()
    assert bee.fate is Fate.GRANTED
    world.finish(bee)
    world.run_out()
    assert [load.model for load in world.loads] == ["ant", "bee", "ant"]
    assert world.settled == [("ant", None)]


def test_each_change_of_state_is_told_once_and_requests_are_not() -> None:
    world = manual()
    world.add("ant", gigabytes(4), is_known=False)
    world.add("bee", gigabytes(8))
    ready(world, "bee")
    world.news.clear()
    request = world.ask("ant")
    world.end_fetch("ant")
    world.end_stop("bee")
    world.end_load("ant")
    world.finish(request)
    world.finish(world.ask("ant"))
    world.unload("ant")
    world.end_stop("ant")
    assert world.news == [
        ("ant", "loading"),
        ("ant", "queued"),
        ("bee", "stopping"),
        ("ant", "loading"),
        ("bee", "unloaded"),
        ("ant", "busy"),
        ("ant", "stopping"),
        ("ant", "unloaded"),
    ]


def test_news_of_an_earlier_worker_are_no_news() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    old = world.ledger.record("ant").run
    world.unload("ant")
    world.end_stop("ant")
    ready(world, "ant")
    assert world.ledger.report("ant", old, WorkerStopped(), world.now) == []
    assert world.ledger.report("ant", old, MemoryMeasured(gigabytes(9)), world.now) == []
    assert world.ledger.record("ant").phase is Phase.READY
