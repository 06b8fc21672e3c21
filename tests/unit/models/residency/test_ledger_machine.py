"""The ledger under every order of events that hypothesis can think of. What is checked is in the world around it.

Each rule is something that happens: a request, a worker's end, the passing of time. After each of them every request
has been answered at most once, nobody has waited too long, no busy model was stopped, no model has two workers, and
memory is within the budget; and at the end, when everybody has gone, nothing is left.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from modelhost.errors import ModelBusy
from modelhost.models.files.memory_pools import MODELS
from modelhost.models.residency.planner import BurstLimits
from modelhost.models.residency.record import NEVER, Phase
from tests.support.ledger_actors import Fate, Life
from tests.support.ledger_world import World

NAMES = ("ant", "bee", "cat", "dog")
RAM = 10
GPU = 6
PENDING = (Life.FETCHING, Life.LOADING, Life.STOPPING)

Need = dict[str, int]
ModelPolicy = dict[str, Any]

names = st.sampled_from(NAMES)
needs = st.fixed_dictionaries(
    {"ram": st.sampled_from([5, 8, 3, 2, RAM + 1])}, optional={"gpu:0": st.integers(0, GPU), "gpu:1": st.just(GPU)}
)
policy = st.fixed_dictionaries(
    {
        "max_in_flight": st.integers(1, 3),
        "queue_size": st.sampled_from([4, 1, 0, 8]),
        "wait_seconds": st.sampled_from([1.0, 5.0, 30.0]),
        "idle_unload_seconds": st.sampled_from([None, 0.5, 20.0]),
        "is_pinned": st.sampled_from([False] * 7 + [True]),
    }
)


done: Counter[Fate | str] = Counter()
"""What all machines together have seen, and their steps."""


class LedgerMachine(RuleBasedStateMachine):
    """Four models that do not fit together, their clients, and whoever administers them."""

    @initialize(
        needs=st.tuples(*[needs] * len(NAMES)),
        policy=st.tuples(*[policy] * len(NAMES)),
        is_known=st.tuples(*[st.booleans()] * len(NAMES)),
        max_models=st.sampled_from([None, 1, 2, 3]),
        bursts=st.builds(BurstLimits, requests=st.integers(1, 4), seconds=st.sampled_from([0.5, 2.0])),
    )
    def begin(
        self,
        needs: list[Need],
        policy: list[ModelPolicy],
        is_known: list[bool],
        max_models: int | None,
        bursts: BurstLimits,
    ) -> None:
        budget = {"ram": RAM, "gpu:0": GPU, "gpu:1": GPU} | ({} if max_models is None else {MODELS: max_models})
        self.world = World(budget, bursts=bursts)
        self.is_exact = True
        for name, need, own_terms, known in zip(NAMES, needs, policy, is_known, strict=True):
            self.world.add(name, need, is_known=known, **own_terms)

    # Clients.

    @rule(whom=st.lists(names, min_size=1, max_size=10))
    def ask(self, whom: list[str]) -> None:
        for name in whom:
            if name in self.world.ledger.records:
                self.world.ask(name)

    @rule(name=names, seconds=st.sampled_from([0.0, 0.3]))
    def ask_and_have_it_loaded(self, name: str, seconds: float) -> None:
        self.ask([name])
        for _ in range(8):
            self.world.advance(seconds)
            if name in self.world.alive(*PENDING):
                self._end(name)

    @rule(name=names, count=st.integers(1, 6))
    def finish(self, name: str, count: int) -> None:
        broken = self.world.of(Fate.BROKEN, model=name)  # its sender ends it too, and does not know
        for request in (*self.world.of(Fate.GRANTED, model=name)[:count], *broken[-1:]):
            self.world.finish(request)

    @rule()
    def finish_everything(self) -> None:
        for request in self.world.of(Fate.GRANTED):
            self.world.finish(request)

    @precondition(lambda self: self.world.requests)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        unanswered = self.world.of(Fate.WAITING, Fate.GRANTED)
        self.world.leave(data.draw(st.sampled_from(unanswered or list(self.world.requests.values()))))

    # Time.

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.6, 2.0, 7.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @precondition(lambda self: self.world.ledger.next_timer() < float("inf"))
    @rule()
    def wait_for_the_next_timer(self) -> None:
        self.world.advance_to(self.world.ledger.next_timer())

    # Workers.

    @precondition(lambda self: self.world.alive(*PENDING))
    @rule(data=st.data(), count=st.integers(1, 4))
    def end_what_is_going_on(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            if self.world.alive(*PENDING):
                self._end(self._model(data, *PENDING))

    @rule()
    def end_all_that_is_going_on(self) -> None:
        for name in self.world.alive(*PENDING):
            if name in self.world.alive(*PENDING):
                self._end(name)

    @precondition(lambda self: self.world.alive(*PENDING))
    @rule(data=st.data(), seconds=st.sampled_from([0.1, 3.0]))
    def end_what_is_going_on_after_a_while(self, data: st.DataObject, seconds: float) -> None:
        self.world.advance(seconds)
        if self.world.alive(*PENDING):
            self._end(self._model(data, *PENDING))

    @precondition(lambda self: self.world.alive(Life.FETCHING, Life.LOADING, Life.READY))
    @rule(data=st.data(), is_out_of_memory=st.booleans())
    def go_wrong(self, data: st.DataObject, *, is_out_of_memory: bool) -> None:
        name = self._model(data, Life.FETCHING, Life.LOADING, Life.READY)
        if name in self.world.alive(Life.READY):
            self.world.crash(name)
        else:
            self.world.fail(name, is_out_of_memory=is_out_of_memory)

    @precondition(lambda self: self.world.alive(Life.LOADING))
    @rule(data=st.data(), need=needs)
    def replace_the_files(self, data: st.DataObject, need: Need) -> None:
        name = self._model(data, Life.LOADING)
        self.world.needs[name] = need
        self.world.find_outdated(name)

    @precondition(lambda self: self.world.alive(Life.READY))
    @rule(data=st.data(), growth=st.integers(-2, 3))
    def measure(self, data: st.DataObject, growth: int) -> None:
        name = self._model(data, Life.READY)
        self.is_exact = self.is_exact and growth <= 0
        memory = self.world.hands[name].memory
        self.world.measure(name, {pool: max(0, size + growth) for pool, size in memory.items()})

    # People and the registry.

    @rule(name=names)
    def request_load(self, name: str) -> None:
        if name in self.world.ledger.records:
            self.world.request_load(name)

    @rule(name=names, need=needs, is_known=st.booleans(), force=st.booleans())
    def reload(self, name: str, need: Need, *, is_known: bool, force: bool) -> None:
        record = self.world.ledger.records.get(name)
        if record is None or record.is_removed:
            return
        self.world.reload(name, need if is_known else None, force=force)
        done["reloads"] += 1
        is_on_its_way = record.is_wanted or record.phase is not Phase.UNLOADED
        assert record.rollback is None or is_on_its_way, "given a configuration, and left"

    @rule(name=names, seconds=st.sampled_from([0.0, 1.0, 30.0, NEVER]))
    def keep(self, name: str, seconds: float) -> None:
        self.world.act(self.world.ledger.keep(name, seconds, self.world.now))

    @rule(name=names, force=st.booleans())
    def unload(self, name: str, *, force: bool) -> None:
        if name not in self.world.ledger.records:
            return
        is_at_work = self.world.of(Fate.WAITING, Fate.GRANTED, model=name)
        if is_at_work and not force:
            with pytest.raises(ModelBusy):
                self.world.unload(name)
        else:
            self.world.unload(name, force=force)
            assert not self.world.of(Fate.WAITING, Fate.GRANTED, model=name)
            assert name not in self.world.alive(Life.FETCHING, Life.LOADING, Life.READY)

    @rule(name=names, policy=policy, need=needs, what=st.sampled_from(["terms", "all", "here"]), is_known=st.booleans())
    def change_the_registry(self, name: str, policy: ModelPolicy, need: Need, what: str, *, is_known: bool) -> None:
        record = self.world.ledger.records.get(name)
        if record is None:
            self.world.add(name, need, is_known=is_known, **policy)
        elif what == "terms" and not record.is_removed:
            self.world.change(name, **policy)
        elif what == "all" or record.is_removed:
            self.world.needs[name] = need
            self.world.change(name, is_outdated=True, **policy)
        else:
            self.world.remove(name)

    # What always holds.

    @invariant()
    def holds(self) -> None:
        done["steps"] += 1
        self.world.check()
        if self.is_exact:
            budget = self.world.ledger.occupancy.budget
            over = {pool for pool, size in self.world.memory().items() if size > budget.get(pool, size)}
            assert not over

    def teardown(self) -> None:
        """Everybody goes, all models are unloaded: nothing is left, and everyone has been answered once."""
        if not hasattr(self, "world"):
            return
        for request in list(self.world.requests.values()):
            done[request.fate] += 1
            self.world.leave(request)
        for name in list(self.world.ledger.records):
            if name in self.world.ledger.records:
                self.world.unload(name)
        for name in self.world.alive(Life.STOPPING):
            self.world.end_stop(name)
        self.world.check_empty()
        assert not self.world.of(Fate.WAITING, Fate.GRANTED)

    def _end(self, name: str) -> None:
        world = self.world
        ends = {Life.FETCHING: world.end_fetch, Life.LOADING: world.end_load, Life.STOPPING: world.end_stop}
        ends[world.hands[name].life](name)

    def _model(self, data: st.DataObject, *lives: Life) -> str:
        return data.draw(st.sampled_from(self.world.alive(*lives)))


def test_in_every_order_of_events_all_are_answered_once_and_memory_holds() -> None:
    run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=90, stateful_step_count=60, deadline=None))
    assert done["steps"] >= 2000
    assert done["reloads"] > 0
    assert min(done[fate] for fate in Fate) > 0, f"this tries too little: {done}"
