"""The history of metrics: what was recorded is found again, over restarts, levels, hosts and databases."""

from __future__ import annotations

import random
import threading
import zlib
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from modelhost.config.value_types import parse_levels
from modelhost.monitor import history, windows
from modelhost.monitor import monitor as monitor_module
from modelhost.monitor.cells import Cell, cells_in, merge_packed, pack
from modelhost.monitor.history import StoredFrame, levels_of
from modelhost.monitor.measure import RequestMeasure, RunningTurn
from modelhost.monitor.monitor import Monitor
from modelhost.monitor.windows import Selection
from tests.support.metric_history import LEVELS, MemoryHistory
from tests.support.nearest_rank import nearest_rank
from tests.unit.monitor.conftest import Clock, MakeMonitor, record

MINUTE, HOUR, DAY = 60, 3600, 86_400
UNREADABLE = (
    b"",
    b"\xde\xad\xbe\xef",
    zlib.compress(b"no msgpack"),
    zlib.compress(msgspec.msgpack.encode({"small": "another version"})),
    zlib.compress(msgspec.msgpack.encode({"small": ({}, {0: (0, 1, 1, 1, 5, [-3], None)})})),
)


async def test_a_window_has_what_was_recorded_within_it(make_monitor: MakeMonitor, clock: Clock) -> None:
    monitor = make_monitor()
    record(monitor)
    clock.now += 30
    record(monitor, "large", code="queue_full")
    window = await monitor.window(60)
    assert (window.total.total("requests"), window.total.total("failed")) == (2, 1)
    assert window.frame["large"].errors == {"queue_full": 1}
    assert window.frame["small"].total("tokens_out") == 10
    clock.now += 45
    assert (await monitor.window(60)).total.total("requests") == 1


async def test_what_was_written_is_not_counted_twice(make_monitor: MakeMonitor, clock: Clock) -> None:
    monitor = make_monitor()
    for _ in range(90):
        record(monitor)
        clock.now += 1
        await monitor.flush()
    record(monitor)
    assert (await monitor.window(600)).total.total("requests") == 91


async def test_history_survives_a_restart(make_monitor: MakeMonitor, clock: Clock) -> None:
    first = make_monitor()
    record(first, seconds=0.25)
    await first.flush()
    await first.close()
    clock.now += 5 * MINUTE
    found = await make_monitor().window(10 * MINUTE)
    assert found.total.total("requests") == 1
    assert found.total.sketches["latency"].mean == 0.25


async def test_a_process_that_ended_in_the_middle_of_an_interval_loses_nothing(
    make_monitor: MakeMonitor, clock: Clock
) -> None:
    for _ in range(3):
        monitor = make_monitor()
        for _ in range(4):
            record(monitor)
            clock.now += 7 * MINUTE
            await monitor.flush()
        await monitor.close()
    for _ in range(3):
        clock.now += 20 * DAY
        last = make_monitor()
        await last.flush()
        assert (await last.window(90 * DAY)).total.total("requests") == 12


async def test_old_intervals_are_deleted_once_coarser_ones_have_them(make_monitor: MakeMonitor, clock: Clock) -> None:
    monitor = make_monitor()
    for _ in range(50):
        record(monitor)
        clock.now += HOUR
        await monitor.flush()
    assert (await monitor.window(3 * DAY)).total.total("requests") == 50
    clock.now += 91 * DAY
    await monitor.flush()
    assert (await monitor.window(90 * DAY)).total.total("requests") == 0


async def test_percentiles_of_merged_intervals_are_those_of_all_values(make_monitor: MakeMonitor, clock: Clock) -> None:
    monitor = make_monitor()
    chance = random.Random(7)
    values = [chance.lognormvariate(-1, 0.8) for _ in range(2000)]
    for value in values:
        record(monitor, chance.choice("abc"), seconds=value)
        clock.now += 40
    await monitor.flush()
    found = (await monitor.window(3 * DAY)).total.sketches["latency"]
    assert found.count == len(values)
    for share in (0.5, 0.95, 0.99):
        exact = nearest_rank(sorted(values), share)
        assert abs((found.quantile(share) or 0) / exact - 1) < 0.01


async def test_hosts_of_one_database_are_read_together_or_apart(make_monitor: MakeMonitor, clock: Clock) -> None:
    first, second = make_monitor("first"), make_monitor("second")
    for _ in range(20):
        record(first)
        record(second)
        record(second)
        clock.now += MINUTE
        await first.flush()
        await second.flush()
    assert (await first.window(HOUR)).total.total("requests") == 60
    assert (await first.window(HOUR, source="first")).total.total("requests") == 20
    assert (await first.window(HOUR, source="second")).total.total("requests") == 40


async def test_two_processes_of_one_host_do_not_overwrite_each_other(make_monitor: MakeMonitor, clock: Clock) -> None:
    one, other = make_monitor(), make_monitor()
    for _ in range(40):
        record(one)
        record(other)
        clock.now += 30
        await one.flush()
        await other.flush()
    assert (await one.window(2 * HOUR)).total.total("requests") == 80


async def test_the_points_of_a_window_add_up_to_it(make_monitor: MakeMonitor, clock: Clock) -> None:
    monitor = make_monitor()
    for _ in range(120):
        record(monitor)
        clock.now += 30
    await monitor.flush()
    window = await monitor.window(HOUR, points=60)
    assert {point.seconds for point in window.points} == {60}
    assert sum(point.total.total("requests") for point in window.points) == window.total.total("requests") == 120
    assert [point.start for point in window.points] == sorted({point.start for point in window.points})


async def test_a_window_has_only_what_is_selected(make_monitor: MakeMonitor, clock: Clock) -> None:
    monitor = make_monitor()
    for _ in range(90):
        record(monitor, "small")
        record(monitor, "large")
        clock.now += 1
    await monitor.flush()
    record(monitor, "large")
    record(monitor, "small")
    window = await monitor.window(HOUR, points=60, only=Selection(model="large", sketches={"first_token"}))
    assert list(window.frame) == ["large"]
    assert set(window.frame["large"].sketches) == {"first_token"}
    assert window.frame["large"].sketches["first_token"].count == window.frame["large"].total("requests") == 91
    assert sum(point.total.total("requests") for point in window.points) == 91
    assert sum(point.total.sketches["first_token"].count for point in window.points) == 91


@pytest.mark.parametrize(
    ("seconds", "step"), [(HOUR, MINUTE), (3 * HOUR, 3 * MINUTE), (6 * HOUR, 10 * MINUTE), (DAY, HOUR)]
)
async def test_points_are_as_long_as_the_intervals_that_divide_a_window_into_about_so_many(
    make_monitor: MakeMonitor, clock: Clock, seconds: int, step: int
) -> None:
    monitor = make_monitor()
    for _ in range(25 * HOUR // MINUTE):
        record(monitor)
        clock.now += MINUTE
    await monitor.flush()
    window = await monitor.window(seconds, points=60)
    assert {point.seconds for point in window.points} == {step}
    assert 23 <= len(window.points) <= 91
    assert window.total.total("requests") == sum(point.total.total("requests") for point in window.points)


async def test_frames_are_merged_in_a_thread(
    make_monitor: MakeMonitor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[int] = set()

    def noting(*given: Any) -> Any:
        used.add(threading.get_ident())
        return cells_in(*given)

    monkeypatch.setattr(windows, "cells_in", noting)
    monitor = make_monitor()
    record(monitor)
    clock.now += 1
    await monitor.flush()
    assert (await monitor.window(60)).total.total("requests") == 1
    assert used
    assert threading.get_ident() not in used


async def test_intervals_are_merged_and_packed_in_a_thread(
    make_monitor: MakeMonitor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: dict[str, set[int]] = {"pack": set(), "merge": set()}

    def packing(frame: Any) -> Any:
        used["pack"].add(threading.get_ident())
        return pack(frame)

    def merging(*given: Any) -> Any:
        used["merge"].add(threading.get_ident())
        return merge_packed(*given)

    monkeypatch.setattr(monitor_module, "pack", packing)
    monkeypatch.setattr(history, "merge_packed", merging)
    monitor = make_monitor()
    record(monitor)
    clock.now += HOUR
    await monitor.flush()
    assert (await monitor.window(2 * HOUR)).total.total("requests") == 1
    assert all(threads and threading.get_ident() not in threads for threads in used.values())


async def test_a_window_begins_with_a_whole_interval_and_says_what_it_covers(
    make_monitor: MakeMonitor, clock: Clock
) -> None:
    monitor = make_monitor()
    for _ in range(100):
        record(monitor)
        clock.now += 0.25
    clock.now -= 0.05  # 0.2 s after the last one, 0.95 s within the second
    for seconds, covered in ((1, 1.95), (2, 2.95), (10, 10.95)):
        window = await monitor.window(seconds)
        assert window.covered_seconds == pytest.approx(covered, abs=1e-3)
        assert window.total.total("requests") == 4 * (seconds + 1)


async def test_rates_of_the_part_that_is_not_over_are_of_what_has_passed(
    make_monitor: MakeMonitor, clock: Clock
) -> None:
    monitor = make_monitor()
    clock.now += 90
    record(monitor)
    window = await monitor.window(HOUR, points=60)
    assert [(point.seconds, point.covered_seconds) for point in window.points] == [(60, 59.0)]
    clock.now += 0.25
    assert (await monitor.window(HOUR, points=60)).points[-1].covered_seconds == 59.25
    record(monitor)
    assert [point.covered_seconds for point in (await monitor.window(60, points=60)).points] == [1.0]
    clock.now += HOUR
    (point,) = (await monitor.window(HOUR, points=60)).points
    assert (point.covered_seconds, point.total.total("requests")) == (61.0, 2)


async def test_tokens_are_counted_as_they_come_and_exactly_at_the_end(make_monitor: MakeMonitor, clock: Clock) -> None:
    monitor, written = make_monitor(), [0]
    request = RequestMeasure(monitor)
    turn = RunningTurn(request, "small", lambda: written[-1])
    monitor.follow(turn)
    seen = []
    for tokens in (20, 40, 61):
        clock.now += 1
        written.append(tokens)
        seen.append((await monitor.window(600)).total.total("tokens_out"))
    request.turns, request.tokens_in, request.tokens_out = 1, 5, 60
    monitor.stop_following(turn, 60)
    clock.now += 1
    monitor.record(request, model="small", seconds=3.5, code=None)
    window = await monitor.window(60, points=60)
    assert (seen, window.total.total("tokens_out"), monitor.generated_tokens) == ([20, 40, 61], 60, 60)
    assert [point.total.total("tokens_out") for point in window.points] == [20, 20, 20, 0]


async def test_requests_are_written_at_the_end_also_to_a_database_that_was_not_open(
    make_monitor: MakeMonitor,
) -> None:
    monitor = make_monitor()
    record(monitor)
    await monitor.close()
    assert (await make_monitor().window(600)).total.total("requests") == 1


async def test_the_batch_is_the_mean_of_turns_at_work(make_monitor: MakeMonitor) -> None:
    monitor = make_monitor()
    monitor.turn_began("small", 10.0)
    monitor.turn_began("small", 14.0)
    monitor.turn_began("large", 14.0)
    for model in ("small", "small", "large"):
        monitor.turn_ended(model, 16.0)
    total = (await monitor.window(60)).total
    assert total.total("host_busy_seconds") == 6
    assert total.total("host_work_seconds") == 4 + 2 * 3
    assert (total.total("busy_seconds"), total.total("work_seconds")) == (8, 10)


async def test_what_cannot_be_read_is_left_out_and_counted(clock: Clock) -> None:
    store = MemoryHistory()
    levels = levels_of(parse_levels(LEVELS))
    monitor = Monitor(store, levels, source="host", clock=clock)
    record(monitor)
    clock.now += 10
    store.put(
        [
            StoredFrame(step=1, start=int(clock.now) + place, source="host", writer="other", content=content)
            for place, content in enumerate(UNREADABLE)
        ]
    )
    clock.now += 10
    record(monitor)
    window = await monitor.window(MINUTE)
    assert (window.total.total("requests"), window.unreadable) == (2, len(UNREADABLE))
    clock.now += HOUR
    with capture_logs() as logs:
        await monitor.flush()
    assert (await monitor.window(2 * HOUR)).total.total("requests") == 2
    assert {log["event"] for log in logs} == {"metrics_unreadable"}


def test_what_a_later_version_counts_besides_is_left_out() -> None:
    cell = Cell()
    cell.count("requests", 3)
    cell.observe("latency", 0.5)
    counters, sketches = msgspec.msgpack.decode(zlib.decompress(pack({"small": cell})), strict=False)["small"]
    later = {"small": ({**counters, 999: 5}, {**sketches, 999: sketches[0]})}
    ((name, found),) = cells_in(zlib.compress(msgspec.msgpack.encode(later)))
    assert (name, found.counters, [each for each, _ in found.sketches]) == ("small", [("requests", 3)], ["latency"])


def test_a_cell_is_the_same_after_it_was_packed() -> None:
    cell = Cell()
    for number in range(200):
        cell.observe("latency", number * 0.01)
    cell.count("requests", 200)
    cell.count("tool_seconds", 0.25)
    cell.count("error:queue_full", 3)
    frame: dict[str, Cell] = {}
    merge_packed(frame, pack({"small": cell}))
    assert frame["small"].counters == cell.counters
    for share in (0, 0.01, 0.5, 1):
        assert frame["small"].sketches["latency"].quantile(share) == cell.sketches["latency"].quantile(share)
    assert frame["small"].sketches["latency"].largest == 1.99
