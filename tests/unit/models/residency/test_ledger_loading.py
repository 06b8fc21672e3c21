"""A request for a model: the load that it begins or joins, its place in the queue and the end of its wait."""

from __future__ import annotations

from modelhost.errors import (
    QueueFull,
    QueueTimeout,
    ShuttingDown,
)
from modelhost.models.residency import refusals
from modelhost.models.residency.planner import BurstLimits
from modelhost.models.residency.status import State
from tests.support.ledger_actors import Fate, Life
from tests.support.ledger_world import gigabytes, manual, ready, state

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
