"""Models that are unloaded, changed, removed or loaded with another configuration, and the events of it."""

from __future__ import annotations

import pytest

from modelhost.errors import (
    InsufficientMemory,
    ModelBusy,
    ModelNotFound,
    ModelUnloaded,
)
from modelhost.models.residency.record import FIRST_SECONDS, NEVER, ModelPolicy, Phase
from modelhost.models.residency.reports import MemoryMeasured, WorkerStopped
from modelhost.models.residency.status import State
from tests.support.ledger_actors import Fate, Life
from tests.support.ledger_world import GB, LOAD_SECONDS, STOP_SECONDS, World, gigabytes, manual, ready, running, state

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


def keep(world: World, seconds: float | None) -> None:
    world.act(world.ledger.keep("ant", seconds, world.now))


def test_a_client_keeps_a_model_longer_or_less_long_than_its_entry_says() -> None:
    world = running()
    world.add("ant", gigabytes(4), idle_unload_seconds=60)
    ready(world, "ant")
    keep(world, 500)
    world.advance(499)
    assert (state(world, "ant"), world.ledger.record("ant").idle_seconds) == (State.READY, 500)
    keep(world, 10)
    world.advance(9)
    assert state(world, "ant") is State.READY
    world.advance(1 + STOP_SECONDS)
    assert (state(world, "ant"), world.stopped_for("idle")) == (State.UNLOADED, ["ant"])
    assert world.ledger.record("ant").idle_seconds == 60


@pytest.mark.parametrize("kept", [None, 60])
def test_a_client_that_asks_to_keep_an_idle_model_starts_its_time_anew(kept: float | None) -> None:
    world = running()
    world.add("ant", gigabytes(4), idle_unload_seconds=60)
    ready(world, "ant")
    world.advance(50)
    keep(world, kept)
    world.advance(59)
    assert state(world, "ant") is State.READY
    world.advance(1)
    assert world.stopped_for("idle") == ["ant"]


def test_a_client_keeps_a_model_for_good_until_another_says_otherwise() -> None:
    world = running()
    world.add("ant", gigabytes(4), idle_unload_seconds=60)
    ready(world, "ant")
    keep(world, NEVER)
    world.advance(1_000_000)
    assert (state(world, "ant"), world.ledger.record("ant").idle_seconds) == (State.READY, None)
    keep(world, 0)
    assert (state(world, "ant"), world.stopped_for("idle")) == (State.STOPPING, ["ant"])


def test_a_model_that_is_not_to_be_kept_goes_after_its_requests() -> None:
    world = running()
    world.add("ant", gigabytes(4))
    ready(world, "ant")
    request = world.ask("ant")
    keep(world, 0)
    assert state(world, "ant") is State.BUSY
    world.finish(request)
    world.advance(STOP_SECONDS)
    assert (state(world, "ant"), world.stopped_for("idle")) == (State.UNLOADED, ["ant"])


def test_a_pinned_model_stays_whatever_clients_say() -> None:
    world = running()
    world.add("ant", gigabytes(4), is_pinned=True)
    ready(world, "ant")
    keep(world, 0)
    world.advance(1_000)
    assert (state(world, "ant"), world.ledger.record("ant").idle_seconds) == (State.READY, None)


def test_there_is_nothing_to_keep_of_a_model_that_is_not_loaded() -> None:
    world = running()
    world.add("ant", gigabytes(4))
    keep(world, 5)
    assert world.ledger.record("ant").idle_seconds is None
    assert world.ledger.keep("bee", 5, world.now) == []


def test_a_busy_model_is_unloaded_by_force_only() -> None:
    world = manual()
    world.add("ant", gigabytes(4), max_in_flight=1)
    ready(world, "ant")
    at_work, waiting = world.ask("ant"), world.ask("ant")
    with pytest.raises(ModelBusy, match="1 request at work and 1 waiting"):
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
