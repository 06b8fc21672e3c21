"""What requests do is noted at once, and counted later, in the intervals in which it happened."""

from __future__ import annotations

from tests.unit.monitor.conftest import Clock, MakeMonitor, record


async def test_what_is_counted_late_belongs_to_the_second_in_which_it_happened(
    make_monitor: MakeMonitor, clock: Clock
) -> None:
    monitor = make_monitor()
    for requests in (1, 2, 3):
        for _ in range(requests):
            record(monitor, seconds=requests)
        clock.now += 1
    window = await monitor.window(4, points=4)
    counted = [(point.total.total("requests"), point.total.sketch("latency").largest) for point in window.points]
    assert counted == [(1, 1.0), (2, 2.0), (3, 3.0)]


async def test_more_requests_than_are_noted_at_a_time_are_all_counted(make_monitor: MakeMonitor) -> None:
    monitor, many = make_monitor(), 1000
    for number in range(many):
        monitor.turn_began("small", float(number))
        monitor.turn_ended("small", number + 0.5)
        record(monitor, code="queue_full" if number % 10 == 0 else None)
    total = (await monitor.window(60)).total
    assert (total.total("requests"), total.total("failed"), total.errors) == (many, 100, {"queue_full": 100})
    assert (total.total("tokens_out"), monitor.generated_tokens) == (9000, 9000)
    assert (total.total("busy_seconds"), total.total("host_work_seconds")) == (500, 500)
    assert total.sketch("latency").count == 900
