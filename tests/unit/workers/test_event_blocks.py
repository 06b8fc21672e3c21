"""The bytes of an event stream come in whole events."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelhost.errors import EngineError
from modelhost.workers.answer_events import decoded_events
from modelhost.workers.wire import EventBlocks


class _Body:
    """A body that arrives in given pieces."""

    def __init__(self, blocks: list[bytes]) -> None:
        self._blocks = [*blocks, b""]

    async def read(self) -> bytes:
        return self._blocks.pop(0)


def _pieces(whole: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted({cut % (len(whole) + 1) for cut in cuts}), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(bounds) if end > start]


@given(
    st.lists(st.binary(min_size=1, max_size=8).filter(lambda data: b"\n" not in data), max_size=8),
    st.lists(st.integers(0, 200)),
)
def test_blocks_are_whole_events_however_the_bytes_arrive(payloads: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(b"data: " + payload + b"\n\n" for payload in payloads)

    async def read_all() -> list[bytes]:
        blocks, found = EventBlocks(_Body(_pieces(whole, cuts))), []
        while block := await blocks.read():
            found.append(block)
        return found

    blocks = asyncio.run(read_all())
    assert b"".join(blocks) == whole
    assert all(block.endswith(b"\n\n") for block in blocks)


async def _events(*pieces: bytes) -> list[Mapping[str, Any]]:
    events = decoded_events(EventBlocks(_Body(list(pieces))), model="m", worker="m-1")
    return [event async for event in events]


async def test_events_are_decoded_up_to_the_end_marker() -> None:
    assert await _events(b'data: {"a": 1}\n\n: a comment\n\ndata: {"b', b'": 2}\n\ndata: [DONE]\n\n') == [
        {"a": 1},
        {"b": 2},
    ]


@pytest.mark.parametrize(("data", "says"), [(b"{", "not JSON"), (b"[1]", "no JSON object")])
async def test_an_event_that_is_no_json_object_is_an_error_of_the_engine(data: bytes, says: str) -> None:
    with pytest.raises(EngineError, match=rf"The engine of m answered what is {says}") as failed:
        await _events(b'data: {"a": 1}\n\ndata: ' + data + b"\n\n")
    assert failed.value.source == {"kind": "worker", "model": "m", "worker": "m-1"}
