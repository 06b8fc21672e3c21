"""News for listeners: in order, none lost that matters, and a slow listener holds up nobody and grows no memory."""

from __future__ import annotations

import asyncio

from modelhost.events import Feed, Listener
from modelhost.models.residency.status import ModelEvent, State


def _state(model: str, state: State) -> ModelEvent:
    return ModelEvent(at=0.0, kind="state", model=model, state=state)


def _progress(model: str, fraction: float) -> ModelEvent:
    return ModelEvent(at=0.0, kind="progress", model=model, progress=fraction)


async def _pending(listener: Listener) -> list[ModelEvent]:
    """Close the listener and read what it has."""
    listener.close()
    return [event async for event in listener.read()]


async def test_a_listener_begins_with_the_first_events_and_hears_what_follows() -> None:
    feed = Feed()
    listener = feed.listen([_state("ant", State.READY), _state("bee", State.UNLOADED)])
    feed.tell(_state("bee", State.LOADING))
    reading = listener.read()
    assert await anext(reading) == _state("ant", State.READY)
    assert await anext(reading) == _state("bee", State.LOADING)
    waiting = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.tell(_state("bee", State.READY))
    assert await waiting == _state("bee", State.READY)
    await reading.aclose()  # type: ignore[attr-defined]


async def test_of_what_a_slow_listener_has_missed_it_hears_the_last_of_each_kind_in_the_order_it_happened() -> None:
    listener = Listener([])
    for number in range(10_000):
        listener.tell(_progress("ant", number / 10_000))
    listener.tell(_state("ant", State.READY))
    listener.tell(_progress("bee", 0.5))
    listener.tell(_state("ant", State.STOPPING))
    assert await _pending(listener) == [
        _progress("ant", 0.9999),
        _progress("bee", 0.5),
        _state("ant", State.STOPPING),
    ]


async def test_listeners_do_not_share_what_they_have_read() -> None:
    feed = Feed()
    quick, slow = feed.listen([]), feed.listen([])
    feed.tell(_state("ant", State.LOADING))
    assert await anext(quick.read()) == _state("ant", State.LOADING)
    feed.tell(_state("ant", State.READY))
    assert await _pending(quick) == [_state("ant", State.READY)]
    assert await _pending(slow) == [_state("ant", State.READY)]


async def test_a_listener_that_has_left_hears_nothing_more() -> None:
    feed = Feed()
    listener = feed.listen([])
    assert feed.has_listeners
    feed.leave(listener)
    feed.leave(listener)
    assert not feed.has_listeners
    feed.tell(_state("ant", State.LOADING))
    assert await _pending(listener) == []


async def test_the_end_of_the_feed_ends_all_listening_after_what_is_pending() -> None:
    feed = Feed()
    listener, other = feed.listen([_state("ant", State.READY)]), feed.listen([])
    waiting = asyncio.create_task(_all(other))
    await asyncio.sleep(0)
    feed.close()
    async with asyncio.timeout(5):
        assert await _all(listener) == [_state("ant", State.READY)]
        assert await waiting == []


async def _all(listener: Listener) -> list[ModelEvent]:
    return [event async for event in listener.read()]
