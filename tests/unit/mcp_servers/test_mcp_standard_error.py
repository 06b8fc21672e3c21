"""Standard error as a pipe that nobody may be reading."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from modelhost.mcp_servers.standard_streams import UnreadableOutput

Ends = tuple[int, UnreadableOutput]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A pipe: where it is read, without waiting, and what writes to it."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, UnreadableOutput(write)
    os.close(write)
    os.close(read)


def test_a_pipe_that_nobody_reads_takes_what_it_has_room_for(ends: Ends) -> None:
    read, log = ends
    for _ in range(100):
        assert log.write(b"x" * 10_000) == 10_000
    kept = len(os.read(read, 1_000_000))
    assert 10_000 <= kept <= 1 << 20
    assert log.write(b"again") == 5
    assert os.read(read, 100) == b"again"


def test_writing_to_a_pipe_without_a_reader_does_no_harm() -> None:
    read, write = os.pipe()
    os.close(read)
    assert UnreadableOutput(write).write(b"nobody") == 6
    os.close(write)


def test_it_is_told_once_when_enough_is_written_and_what_came_before_counts(ends: Ends) -> None:
    _, log = ends
    told: list[str] = []
    log.write(b"x" * 600)
    log.limit(1000, lambda: told.append("enough"))
    log.write(b"x" * 300)
    assert told == []
    log.write(b"x" * 100)
    log.write(b"x" * 100)
    assert told == ["enough"]


def test_no_more_than_twice_what_is_enough_is_written_whatever_is_done_about_it(ends: Ends) -> None:
    read, log = ends
    log.limit(10_000, lambda: None)
    for _ in range(1000):
        assert log.write(b"x" * 999) == 999
    assert 10_000 <= len(os.read(read, 1_000_000)) <= 20_000


def test_after_its_end_nothing_is_written(ends: Ends) -> None:
    read, log = ends
    log.write(b"before")
    log.end()
    assert log.write(b"after") == 5
    assert os.read(read, 100) == b"before"
