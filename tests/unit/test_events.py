"""News for listeners: in order, none lost that matters, and a slow listener holds up nobody and grows no memory."""

from __future__ import annotations

import asyncio

from modelhost.events import EventBus, Subscription
from modelhost.models.residency.status import ModelEvent, State


def _state(model: str, state: State) -> ModelEvent:
    return ModelEvent(at=0.0, kind="state", model=model, state=state)


def _progress(model: str, fraction: float) -> ModelEvent:
    return ModelEvent(at=0.0, kind="progress", model=model, progress=fraction)


async def _pending(listener: Subscription) -> list[ModelEvent]:
    """Close the listener and read what it has."""
    listener.close()
    return [event async for event in listener.read()]


async def test_a_listener_begins_with_the_first_events_and_hears_what_follows() -> None:
    feed = EventBus()
    listener = feed.subscribe([_state("ant", State.READY), _state("bee", State.UNLOADED)])
    feed.publish(_state("bee", State.LOADING))
    reading = listener.read()
    assert await anext(reading) == _state("ant", State.READY)
    assert await anext(reading) == _state("bee", State.LOADING)
    waiting = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.publish(_state("bee", State.READY))
    assert await waiting == _state("bee", State.READY)
    await reading.aclose()  # type: ignore[attr-defined]


async def test_of_what_a_slow_listener_has_missed_it_hears_the_last_of_each_kind_in_the_order_it_happened() -> None:
    listener = Subscription([])
    for number in range(10_000):
        listener.put(_progress("ant", number / 10_000))
    listener.put(_state("ant", State.READY))
    listener.put(_progress("bee", 0.5))
    listener.put(_state("ant", State.STOPPING))
    assert await _pending(listener) == [
        _progress("ant", 0.9999),
        _progress("bee", 0.5),
        _state("ant", State.STOPPING),
    ]


async def test_listeners_do_not_share_what_they_have_read() -> None:
    feed = EventBus()
    quick, slow = feed.subscribe([]), feed.subscribe([])
    feed.publish(_state("ant", State.LOADING))
    assert await anext(quick.read()) == _state("ant", State.LOADING)
    feed.publish(_state("ant", State.READY))
    assert await _pending(quick) == [_state("ant", State.READY)]
    assert await _pending(slow) == [_state("ant", State.READY)]


async def test_a_listener_that_has_left_hears_nothing_more() -> None:
    feed = EventBus()
    listener = feed.subscribe([])
    assert feed.has_subscribers
    feed.unsubscribe(listener)
    feed.unsubscribe(listener)
    assert not feed.has_subscribers
    feed.publish(_state("ant", State.LOADING))
    assert await _pending(listener) == []


async def test_the_end_of_the_feed_ends_all_listening_after_what_is_pending() -> None:
    feed = EventBus()
    listener, other = feed.subscribe([_state("ant", State.READY)]), feed.subscribe([])
    waiting = asyncio.create_task(_all(other))
    await asyncio.sleep(0)
    feed.close()
    async with asyncio.timeout(5):
        assert await _all(listener) == [_state("ant", State.READY)]
        assert await waiting == []


async def _all(listener: Subscription) -> list[ModelEvent]:
    return [event async for event in listener.read()]
