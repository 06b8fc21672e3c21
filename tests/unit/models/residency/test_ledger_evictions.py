"""Who makes room for a model that is wanted, and what a model that cannot fit is refused with."""

from __future__ import annotations

import pytest

from modelhost.errors import (
    InsufficientMemory,
)
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.status import State
from tests.support.ledger_actors import Fate
from tests.support.ledger_world import World, gigabytes, manual, ready, running, state


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


def test_a_model_without_a_context_is_not_told_to_have_a_smaller_one() -> None:
    world = manual()
    world.add("ant", gigabytes(12), has_context=False)
    error = world.ask("ant").error
    assert isinstance(error, InsufficientMemory)
    assert error.details["suggestion"] == "Serve a smaller model, or raise --memory-budget."


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


def test_what_a_model_took_when_it_was_ready_is_what_it_needs_the_next_time() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.sizes["ant"] = gigabytes(5)
    ready(world, "ant")
    assert world.ledger.occupancy.used() == gigabytes(5)
    world.unload("ant")
    world.end_stop("ant")
    world.sizes["ant"] = gigabytes(2)
    ready(world, "ant")
    assert world.ledger.occupancy.used() == gigabytes(5)
    world.unload("ant")
    world.end_stop("ant")
    world.ask("ant")
    assert world.ledger.occupancy.used() == gigabytes(5)


def test_what_one_request_took_counts_until_the_worker_ends_and_keeps_no_model_from_being_loaded_again() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.sizes["ant"] = gigabytes(4)
    ready(world, "ant")
    world.measure("ant", gigabytes(1000))
    world.measure("ant", gigabytes(3))
    assert world.ledger.occupancy.used() == gigabytes(1000)
    world.unload("ant")
    world.end_stop("ant")
    ready(world, "ant")
    assert world.ledger.occupancy.used() == gigabytes(4)
