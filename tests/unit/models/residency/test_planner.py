"""The planner: what has to go so that a model fits, and nothing more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelhost.models.files.memory_pools import MODELS, total
from modelhost.models.residency.planner import EvictionRank, Plan, Resident, excess_over, plan, relief

pools = st.sampled_from(["ram", "gpu:0", "gpu:1"])
charges = st.dictionaries(pools, st.integers(0, 8))
budgets = st.dictionaries(st.sampled_from(["ram", "gpu:0", "gpu:1", MODELS]), st.integers(0, 20))

large_needs = st.dictionaries(pools, st.integers(5, 20), min_size=1)
small_budgets = st.fixed_dictionaries({pool: st.integers(0, 4) for pool in ("ram", "gpu:0", "gpu:1")})


@st.composite
def residents(draw: st.DrawFn) -> list[Resident]:
    count = draw(st.integers(0, 6))
    return [
        Resident(
            name=f"model-{index}",
            charge=draw(charges),
            eviction_rank=draw(st.sampled_from(EvictionRank)),
            last_used=draw(st.floats(0, 100)),
        )
        for index in range(count)
    ]


def resident(name: str, ram: int, eviction_rank: EvictionRank = EvictionRank.IDLE, last_used: float = 0.0) -> Resident:
    return Resident(name=name, charge={"ram": ram}, eviction_rank=eviction_rank, last_used=last_used)


def fits(need: dict[str, int], budget: dict[str, int], staying: list[Resident]) -> bool:
    """Whether there is room, said in another way than the planner's: only for the pools that are needed."""
    wanted = {pool: count for pool, count in need.items() if count > 0} | {MODELS: 1}
    taken = total([wanted, *({**other.charge, MODELS: 1} for other in staying)])
    return all(taken[pool] <= budget[pool] for pool in wanted if pool in budget)


def leaving(found: Plan) -> set[str]:
    return {*found.evict, *found.wait_for, *found.stopping}


def without(everyone: list[Resident], names: set[str]) -> list[Resident]:
    return [one for one in everyone if one.name not in names]


@given(charges, budgets, residents())
def test_there_is_room_when_those_have_gone_who_are_named(
    need: dict[str, int], budget: dict[str, int], everyone: list[Resident]
) -> None:
    found = plan(need, budget, everyone)
    if not found.missing:
        assert fits(need, budget, without(everyone, leaving(found)))


@given(charges, budgets, residents())
def test_nobody_goes_whose_place_is_not_needed(
    need: dict[str, int], budget: dict[str, int], everyone: list[Resident]
) -> None:
    going = leaving(plan(need, budget, everyone))
    for name in going:
        assert not fits(need, budget, without(everyone, going - {name}))


@given(charges, budgets, residents())
def test_what_fits_is_left_alone_and_what_does_not_is_told(
    need: dict[str, int], budget: dict[str, int], everyone: list[Resident]
) -> None:
    assert plan(need, budget, everyone).fits_now == fits(need, budget, everyone)


@given(charges, budgets, residents())
def test_each_goes_in_the_way_that_becomes_it_and_a_pinned_one_never(
    need: dict[str, int], budget: dict[str, int], everyone: list[Resident]
) -> None:
    found = plan(need, budget, everyone)
    eviction_rank = {one.name: one.eviction_rank for one in everyone}
    assert all(eviction_rank[name] is EvictionRank.IDLE for name in found.evict)
    assert all(eviction_rank[name] is EvictionRank.STOPPING for name in found.stopping)
    assert all(EvictionRank.IDLE < eviction_rank[name] < EvictionRank.PINNED for name in found.wait_for)


@given(charges, budgets, residents())
def test_busy_ones_are_waited_for_only_if_the_idle_ones_are_not_enough(
    need: dict[str, int], budget: dict[str, int], everyone: list[Resident]
) -> None:
    found = plan(need, budget, everyone)
    if found.wait_for:
        assert not fits(need, budget, [one for one in everyone if one.eviction_rank > EvictionRank.IDLE])


@given(large_needs, small_budgets, residents())
def test_what_is_missing_is_exactly_what_would_make_it_possible(
    need: dict[str, int], budget: dict[str, int], everyone: list[Resident]
) -> None:
    found = plan(need, budget, everyone)
    assert found.missing
    enough = {pool: count + found.missing.get(pool, 0) for pool, count in budget.items()}
    assert not plan(need, enough, everyone).missing
    for pool in found.missing:
        assert plan(need, {**enough, pool: enough[pool] - 1}, everyone).missing == {pool: 1}
    assert not leaving(found)
    assert set(found.holders) <= {one.name for one in everyone if one.eviction_rank is EvictionRank.PINNED}


@given(budgets, residents())
def test_relief_takes_idle_models_only_and_stops_when_the_budget_holds(
    budget: dict[str, int], everyone: list[Resident]
) -> None:
    going = set(relief(budget, everyone))
    eviction_rank = {one.name: one.eviction_rank for one in everyone}
    assert all(eviction_rank[name] is EvictionRank.IDLE for name in going)
    leaving_anyway = {name for name, its in eviction_rank.items() if its is EvictionRank.STOPPING}
    if not excess_over(budget, without(everyone, leaving_anyway)):
        assert not going
    still_over = excess_over(budget, without(everyone, leaving_anyway | going))
    holders = [one for one in everyone if any({**one.charge, MODELS: 1}.get(pool, 0) for pool in still_over)]
    idle_holders = [one for one in holders if one.eviction_rank is EvictionRank.IDLE and one.name not in going]
    assert len(idle_holders) <= 1


def test_the_longest_unused_goes_first() -> None:
    everyone = [resident("new", 4, last_used=9), resident("old", 4, last_used=1), resident("newer", 4, last_used=10)]
    assert plan({"ram": 4}, {"ram": 12}, everyone) == Plan(evict=("old",))


def test_an_older_small_one_stays_if_a_larger_one_has_to_go_anyway() -> None:
    everyone = [resident("old-and-small", 1, last_used=1), resident("large", 9, last_used=2)]
    assert plan({"ram": 9}, {"ram": 10}, everyone) == Plan(evict=("large",))


def test_memory_that_is_on_its_way_back_is_waited_for_before_anyone_else_goes() -> None:
    everyone = [resident("idle", 5), resident("stopping", 5, EvictionRank.STOPPING)]
    assert plan({"ram": 5}, {"ram": 10}, everyone) == Plan(stopping=("stopping",))


def test_one_that_was_chosen_to_make_room_is_chosen_again_though_it_was_used_last() -> None:
    everyone = [resident("busy", 5, EvictionRank.BUSY, 1), resident("yielding", 5, EvictionRank.YIELDING, 2)]
    assert plan({"ram": 5}, {"ram": 10}, everyone) == Plan(wait_for=("yielding",))


def test_models_that_hold_other_memory_are_left_alone() -> None:
    everyone = [
        Resident(name="on-gpu-0", charge={"gpu:0": 8}, eviction_rank=EvictionRank.IDLE),
        Resident(name="on-gpu-1", charge={"gpu:1": 8}, eviction_rank=EvictionRank.IDLE, last_used=9),
    ]
    assert plan({"gpu:1": 8}, {"gpu:0": 8, "gpu:1": 8}, everyone) == Plan(evict=("on-gpu-1",))


def test_a_pool_over_its_budget_does_not_concern_a_model_that_needs_nothing_of_it() -> None:
    everyone = [Resident(name="grown", charge={"gpu:0": 9}, eviction_rank=EvictionRank.PINNED)]
    assert plan({"ram": 1, "gpu:0": 0}, {"ram": 10, "gpu:0": 8}, everyone).fits_now


def test_the_number_of_models_is_limited_like_memory() -> None:
    everyone = [resident("one", 0, last_used=1), resident("two", 0, last_used=2)]
    assert plan({}, {MODELS: 3}, everyone).fits_now
    assert plan({}, {MODELS: 2}, everyone) == Plan(evict=("one",))
    pinned = [resident("one", 0, EvictionRank.PINNED), resident("two", 0, EvictionRank.PINNED)]
    assert plan({}, {MODELS: 2}, pinned) == Plan(missing={MODELS: 1}, holders=("one", "two"))


def test_what_is_missing_names_those_who_hold_it() -> None:
    everyone = [
        resident("pinned", 6, EvictionRank.PINNED),
        Resident(name="pinned-elsewhere", charge={"gpu:0": 6}, eviction_rank=EvictionRank.PINNED),
        resident("idle", 4),
    ]
    assert plan({"ram": 7}, {"ram": 10}, everyone) == Plan(missing={"ram": 3}, holders=("pinned",))


def test_a_model_larger_than_the_budget_is_told_so_though_nobody_holds_anything() -> None:
    assert plan({"ram": 11}, {"ram": 10}, []) == Plan(missing={"ram": 1})


def test_relief_lets_the_longest_unused_go_and_a_model_that_is_too_large_alone_stay() -> None:
    everyone = [resident("new", 6, last_used=2), resident("old", 6, last_used=1)]
    assert relief({"ram": 10}, everyone) == ("old",)
    assert relief({"ram": 10}, [resident("large", 12)]) == ()
    assert relief({"ram": 10}, [resident("pinned", 6, EvictionRank.PINNED), resident("idle", 6)]) == ("idle",)
