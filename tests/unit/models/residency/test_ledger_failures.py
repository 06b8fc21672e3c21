"""Loads that fail and workers that die: pauses, restarts, and what requests are answered with."""

from __future__ import annotations

import pytest

from modelhost.errors import (
    ModelFailed,
    ModelFileInvalid,
)
from modelhost.models.residency import refusals
from modelhost.models.residency.record import FIRST_SECONDS, HEALTHY_SECONDS
from modelhost.models.residency.reports import LoadCorrected
from modelhost.models.residency.status import State
from modelhost.models.resolve.runtime import Headroom
from tests.support.ledger_actors import Fate, Life
from tests.support.ledger_world import World, gigabytes, manual, ready, state


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


def test_files_that_cannot_be_used_are_not_said_to_be_tried_again() -> None:
    world = manual()
    world.add("ant", gigabytes(4))
    world.ask("ant")
    world.fail("ant")
    record = world.ledger.record("ant")
    assert refusals.failed(record, world.now).message == (
        "ant could not be started, and a later request tries again. It did not start."
    )
    record.last_error = ModelFileInvalid("The tensors are damaged.")
    refused = refusals.failed(record, world.now)
    assert refused.message == (
        "ant could not be started, and a request loads it once this is mended: The tensors are damaged."
    )
    assert refused.details["cause"] == "model_file_invalid"


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
    refused = refusals.failed(world.ledger.record("ant"), world.now)
    assert refused.message == "ant could not be started and is tried again later. It did not start."
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
