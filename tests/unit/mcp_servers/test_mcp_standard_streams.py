"""The wire: real pipes that are slow, full, closed or shared."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modelhost.mcp_servers.standard_streams import HIGH_WATER_BYTES, LineStreams, LineTooLong
from tests.support.eventually import eventually_async

LINE_BYTES = 200_000


class Ends:
    """A wire between two pipes, and the other ends of those."""

    def __init__(self) -> None:
        self.wire_in, self.input = os.pipe()
        self.output, self.wire_out = os.pipe()
        self.wire = LineStreams(self.wire_in, self.wire_out, line_bytes=LINE_BYTES)

    def close(self) -> None:
        for fd in (self.wire_in, self.input, self.output, self.wire_out):
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
async def ends() -> Iterator[Ends]:
    made = Ends()
    yield made  # type: ignore[misc]
    loop = asyncio.get_running_loop()
    for forget in (loop.remove_reader, loop.remove_writer):
        forget(made.wire_out)
    made.close()


async def lines(wire: LineStreams) -> list[bytes | str]:
    found: list[bytes | str] = []
    async with asyncio.timeout(10):
        while True:
            try:
                line = await wire.read_line()
            except LineTooLong:
                found.append("too long")
                continue
            if line is None:
                return found
            found.append(line)


async def test_lines_are_put_together_and_the_last_one_needs_no_end(ends: Ends) -> None:
    for piece in (b"one\ntw", b"o\n\nthr", b"ee"):
        os.write(ends.input, piece)
    os.close(ends.input)
    assert await lines(ends.wire) == [b"one", b"two", b"", b"three"]


async def test_a_line_that_is_too_long_is_told_once_and_skipped(ends: Ends) -> None:
    async def say() -> None:
        for piece in (b"a" * 50_000,) * 9 + (b"\nshort\n",):
            await asyncio.to_thread(os.write, ends.input, piece)
        os.close(ends.input)

    told, _ = await asyncio.gather(lines(ends.wire), say())
    assert told == ["too long", b"short"]


async def test_input_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "asked"
    path.write_bytes(b"one\ntwo")
    with path.open("rb") as asked, (tmp_path / "said").open("wb") as said:
        wire = LineStreams(asked.fileno(), said.fileno(), line_bytes=LINE_BYTES)
        assert await lines(wire) == [b"one", b"two"]
        await wire.write(b"answer\n")
        await wire.drain()
    assert (tmp_path / "said").read_bytes() == b"answer\n"


async def test_a_slow_reader_holds_up_the_writers_and_not_the_loop(ends: Ends) -> None:
    data = b"x" * (2 * HIGH_WATER_BYTES)
    writing = asyncio.create_task(ends.wire.write(data))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not writing.done()
    got = 0
    async with asyncio.timeout(10):
        while got < len(data):
            got += len(await asyncio.to_thread(os.read, ends.output, 65536))
        await writing


async def test_little_is_written_at_once(ends: Ends) -> None:
    await ends.wire.write(b"answer\n")
    assert os.read(ends.output, 100) == b"answer\n"


async def test_a_reader_that_goes_is_noticed_without_writing(ends: Ends) -> None:
    os.close(ends.output)
    await asyncio.wait_for(ends.wire.closed, 5)
    with pytest.raises(BrokenPipeError):
        await ends.wire.write(b"x")


async def test_a_reader_that_goes_ends_the_waiting_of_writers(ends: Ends) -> None:
    writing = asyncio.create_task(ends.wire.write(b"x" * (2 * HIGH_WATER_BYTES)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not writing.done()
    os.close(ends.output)
    with pytest.raises(BrokenPipeError):
        await asyncio.wait_for(writing, 5)


async def test_one_socket_may_be_both_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = LineStreams(ours.fileno(), ours.fileno(), line_bytes=LINE_BYTES)
        theirs.sendall(b"one\n")
        assert await asyncio.wait_for(wire.read_line(), 5) == b"one"
        assert not wire.closed.done()
        await wire.write(b"two\n")
        assert theirs.recv(10) == b"two\n"
        theirs.close()
        assert await asyncio.wait_for(wire.read_line(), 5) is None


async def test_a_socket_whose_other_end_goes_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours:
        wire = LineStreams(read, ours.fileno(), line_bytes=LINE_BYTES)
        theirs.close()
        await eventually_async(wire.closed.done)
    os.close(read)
    os.close(write)
