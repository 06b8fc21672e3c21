"""The load generator: a process of its own that reads bytes, counts events and looks at the clock.

It parses no JSON of the answers, so that what is measured is not the client. ``python -m bench.client`` reads one job
per line on standard input and answers each with one line. A stream is an ordinary client: one connection per request.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, islice
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.figures import CHAT, DOORS, Call, Door, Job, Seen, percentile

GOOD = (b"HTTP/1.1 200", b"HTTP/1.0 200")
LAST_CHUNK = b"\r\n0\r\n\r\n"
FRAMING = re.compile(rb"\r\n[0-9a-fA-F]+\r\n")
ERROR = b'{"error"'
TAIL = 200  # bytes; holds the last event and the framing around it
USAGE_TAIL = 4096  # bytes; holds the usage too, to which some servers add timings
TEXT = re.compile(rb'"content": ?"[^"]')
COMPLETION_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')


@dataclass(slots=True)
class Exchange(asyncio.Protocol):
    """One request on its own connection: ``reads`` holds when bytes with events came, and how many events.

    A relay may cut the stream anywhere, so that the framing of HTTP's chunks stands in the middle of an event, and
    taking the framing away would cost more than all else. Events are counted without that: JSON holds no bare line
    ends, each event of a door has as many line feeds, and all other lines end in carriage return and line feed.
    """

    request: bytes
    finished: asyncio.Future[None]
    door: Door = DOORS[CHAT]
    leading_events: int = 0
    counts_usage: bool = False
    """Whether the first text and the usage are looked for."""
    reads: list[tuple[float, int]] = field(default_factory=list)
    text_at: float | None = None
    events: int = 0
    problem: str | None = None
    _bare_line_feeds: int = 0
    _tail: bytes = b""
    _transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self._transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self._tail and not any(data.startswith(good[: len(data)]) for good in GOOD):
            self.problem = data[:TAIL].split(b"\r\n", 1)[0].decode("latin-1")
        self._bare_line_feeds += data.count(b"\n") - data.count(b"\r")
        new = self._bare_line_feeds // self.door.line_feeds - self.events
        if new > 0:
            self.reads.append((now, new))
            self.events += new
        if ERROR in data and self.problem is None:
            self.problem = "error event"
        if self.counts_usage and self.text_at is None and TEXT.search(data):
            self.text_at = now
        kept = USAGE_TAIL if self.counts_usage else TAIL
        self._tail = (self._tail + data)[-kept:] if len(data) < kept else data[-kept:]
        if self._tail.endswith(LAST_CHUNK):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()

    def is_complete(self) -> bool:
        """Whether the stream ended as a stream should."""
        return self.door.end in FRAMING.sub(b"", self._tail)

    @property
    def tokens(self) -> int:
        """The tokens of the answer, as its usage says; 0 if there is none."""
        told = COMPLETION_TOKENS.findall(FRAMING.sub(b"", self._tail))
        return int(told[-1]) if told else 0

    @property
    def first_at(self) -> float:
        """When the first token came; of an answer that has begun."""
        if self.text_at is not None:
            return self.text_at
        when, events = self.reads[0]
        for later, count in self.reads[1:]:
            if events > self.leading_events:
                break
            when, events = later, events + count
        return when

    def close(self) -> None:
        """Close the connection, and let ``finished`` be so."""
        if self._transport is not None:
            self._transport.close()
        if not self.finished.done():
            self.finished.set_result(None)


@dataclass(slots=True)
class Tally:
    """What all streams of a job saw together."""

    job: Job
    requests: int = 0
    events: int = 0
    tokens: int = 0
    last: float = 0.0
    first: list[tuple[float, int]] = field(default_factory=list)
    first_tokens: list[float | None] = field(default_factory=list)
    between: list[tuple[float, int]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, exchange: Exchange, begun: float) -> None:
        self.requests += 1
        self.events += exchange.events
        self.tokens += exchange.tokens if exchange.counts_usage else 0
        if (problem := self._problem(exchange)) is not None:
            self.errors[problem] += 1
        if self.job.keeps_first_tokens:
            self.first_tokens.append(exchange.first_at - begun if problem is None else None)
        if not exchange.reads:
            return
        self.last = max(self.last, exchange.reads[-1][0])
        self.first.append((exchange.first_at - begun, 1))
        before = exchange.reads[0][0]
        for when, count in exchange.reads[1:]:
            self.between.append((when - before, 1))
            if count > 1:
                self.between.append((0.0, count - 1))
            before = when

    def _problem(self, exchange: Exchange) -> str | None:
        events, tokens = self.job.expected_events, self.job.expected_tokens
        if exchange.problem is not None:
            return exchange.problem
        if tokens is not None:
            # The usage comes last; not every server says [DONE] after it.
            return None if exchange.tokens == tokens else f"{exchange.tokens} tokens instead of {tokens}"
        if not exchange.is_complete():
            return f"ended before {exchange.door.end.decode()}"
        if events is not None and exchange.events != events:
            return f"{exchange.events} events instead of {events}"
        return None


async def run(job: Job) -> Seen:
    """Do ``job`` and return what was seen."""
    tally = Tally(job)
    ways = [Way.of(call) for call in job.calls]
    cpu, start = time.process_time(), time.perf_counter()
    streams = (
        _stream(job, islice(cycle(ways), first, None), tally, start + job.seconds) for first in range(job.streams)
    )
    await asyncio.gather(*streams)
    cpu = time.process_time() - cpu
    return Seen(
        requests=tally.requests,
        events=tally.events,
        seconds=max(0.0, tally.last - start),
        first_token_p50=percentile(tally.first, 0.5),
        first_token_p95=percentile(tally.first, 0.95),
        first_token_p99=percentile(tally.first, 0.99),
        between_p50=percentile(tally.between, 0.5),
        between_p95=percentile(tally.between, 0.95),
        client_cpu_seconds=cpu,
        errors=dict(tally.errors),
        tokens=None if job.expected_tokens is None else tally.tokens,
        first_tokens=tally.first_tokens,
    )


async def _stream(job: Job, ways: Iterator[Way], tally: Tally, until: float) -> None:
    loop = asyncio.get_running_loop()
    begun_requests = 0
    while begun_requests < job.requests or time.perf_counter() < until:
        begun_requests += 1
        way = next(ways)
        counts_usage = job.expected_tokens is not None
        exchange = Exchange(way.request, loop.create_future(), way.door, way.leading_events, counts_usage=counts_usage)
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(job.longest_seconds):
                await loop.create_connection(partial(_same, exchange), way.host, way.port)
                await exchange.finished
        except (OSError, TimeoutError) as error:
            exchange.problem = type(error).__name__
            exchange.close()
        tally.add(exchange, begun)


def _same(exchange: Exchange) -> Exchange:
    return exchange


@dataclass(frozen=True, slots=True)
class Way:
    """A call, ready to be sent: where to connect, the bytes of the request, and how the answer is written."""

    host: str
    port: int
    request: bytes
    door: Door
    leading_events: int

    @classmethod
    def of(cls, call: Call) -> Way:
        address = urlsplit(call.url)
        door = DOORS[call.door]
        return cls(address.hostname or "", address.port or 80, request_of(call), door, call.leading_events)


def request_of(call: Call) -> bytes:
    """Return the bytes of the request."""
    body = json.dumps({**call.body, "stream": True}).encode()
    head = [
        f"POST {DOORS[call.door].path} HTTP/1.1",
        f"Host: {urlsplit(call.url).netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if call.api_key is not None:
        head.append(f"Authorization: Bearer {call.api_key}")
    return "\r\n".join([*head, "", ""]).encode() + body


def job_of(line: str) -> Job:
    """Return the job that ``line`` describes in JSON."""
    values = json.loads(line)
    return Job(**{**values, "calls": tuple(Call(**call) for call in values["calls"])})


def main() -> None:
    """Do the jobs of standard input."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            seen = runner.run(run(job_of(line)))
            sys.stdout.write(json.dumps(asdict(seen)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
