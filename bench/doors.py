"""What the doors cost: the same scripted answers by way of each API, from one host, in turns.

Chats that nothing has to be changed in are relayed as bytes; all other answers are opened into events, which each door
writes in its own format. The program of an MCP server of the host does not exist: answers begin with an event about it,
so that the chat door opens them too, with nothing else beneath it than the other doors have. A chat that wants no
server is relayed. The event itself takes time before the first token: there, only a chat has it that is to be opened.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import CHAT, DOORS, MESSAGES, OLLAMA, RESPONSES, Call, Job, Measured, Seen, percentile
from bench.loads import Load
from bench.measure import LoadGenerator, measure
from bench.sides import Side, host

STREAMS = (1, 8)
FIRST = "/tokens 4 /slow 1000"  # each token by itself, as engines write
FULL, TOKENS = "/tokens 1000", 1000
MOST_TOKENS = 4096  # that a request allows where the API wants a limit
WARM_UP = 5
MODEL = "scripted"
NO_SERVERS: Mapping[str, Any] = {"mcp": {"servers": []}}
RELAYED, EVENTS = "chat (bytes)", "chat (events)"
NOT_FOUND = "HTTP/1.1 404"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to the same answer: a door, and the fields that its requests have besides."""

    name: str
    door: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    few_have_event: bool = False
    """Whether answers of few tokens begin with an event about the missing server."""
    many_have_event: bool = True
    """The same of answers of many tokens."""

    def call(self, side: Side) -> Call:
        """Return a request for few tokens."""
        body = self._body(FIRST, has_event=self.few_have_event)
        leading = DOORS[self.door].leading_events + self.few_have_event
        return Call(url=side.url, api_key=None, body=body, door=self.door, leading_events=leading)

    def load(self, seconds: float = 0.0, *, requests: int = 1) -> Load:
        """Return requests for many tokens, at the full speed of the worker."""
        return Load(
            name=self.name,
            engine="scripted",
            body=self._body(FULL, has_event=self.many_have_event),
            streams=STREAMS,
            requests=requests,
            seconds=seconds,
            expected_events=TOKENS + self.control_events,
            door=self.door,
        )

    @property
    def control_events(self) -> int:
        """The events of an answer of many tokens that are no tokens."""
        return DOORS[self.door].control_events + self.many_have_event

    def _body(self, commands: str, *, has_event: bool) -> dict[str, Any]:
        """Return a request that the worker answers as ``commands`` say."""
        servers = {} if has_event else NO_SERVERS
        messages = {DOORS[self.door].messages_field: [{"role": "user", "content": commands}]}
        return {"model": MODEL, **messages, **servers, **self.fields}


WAYS = (
    Way(name=RELAYED, door=CHAT, many_have_event=False),
    Way(name=EVENTS, door=CHAT, few_have_event=True),
    Way(name="Responses", door=RESPONSES, fields={"store": False}),
    Way(name="Anthropic", door=MESSAGES, fields={"max_tokens": MOST_TOKENS}),
    Way(name="Ollama", door=OLLAMA),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long is measured: ``rounds``, in each of which every way has ``requests`` of few tokens and, for each number
    of streams, ``seconds`` of many."""

    rounds: int
    requests: int
    seconds: float
    streams: tuple[int, ...] = STREAMS


def effort_of(*, quick: bool, rounds: int, streams: Sequence[int]) -> Effort:
    """Return the effort; of ``streams`` those that are measured here.

    Runs are short and many, so that what else the machine does at a time meets all ways alike.
    """
    requests, seconds = (15, 0.05) if quick else (45, 0.15)
    wanted = tuple(number for number in streams if number in STREAMS)
    return Effort(rounds=15 * rounds, requests=requests, seconds=seconds, streams=wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorRow:
    """What was measured of one way."""

    way: Way
    first_tokens: tuple[float, ...]
    """Seconds to the first token of one client, of each request."""
    full: Mapping[int, tuple[Measured, ...]]
    """The rounds of many tokens, by the number of streams."""

    def first_token(self, share: float) -> float:
        """The seconds that ``share`` of the requests do not exceed."""
        return percentile([(seconds, 1) for seconds in self.first_tokens], share)

    def cpu_per_1000_tokens(self, streams: int) -> tuple[float, ...]:
        """CPU seconds of the host's process for 1,000 tokens, in each round."""
        return tuple(1000 * run.cpu_seconds / max(1, self._tokens(run.seen)) for run in self.full[streams])

    def _tokens(self, seen: Seen) -> int:
        return seen.events - self.way.control_events * seen.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorCosts:
    """All ways, and the doors that this host does not have."""

    rows: tuple[DoorRow, ...]
    left_out: tuple[Way, ...] = ()
    first_token_errors: Mapping[str, int] = field(default_factory=dict)
    """What went wrong with requests for few tokens, with how often."""

    @property
    def others(self) -> tuple[DoorRow, ...]:
        """The rows of the doors beside the chat door."""
        return tuple(row for row in self.rows if row.way.door != CHAT)

    def added_first_token_seconds(self, row: DoorRow) -> float:
        """What a way adds to the first token (p50) of a relayed chat."""
        return row.first_token(0.5) - self._row(RELAYED).first_token(0.5)

    def cpu_ratio(self, row: DoorRow, streams: int) -> float:
        """The CPU time of a way over that of a chat as events: the median of the rounds' ratios."""
        pairs = zip(row.cpu_per_1000_tokens(streams), self._row(EVENTS).cpu_per_1000_tokens(streams), strict=True)
        return statistics.median(its / chat for its, chat in pairs)

    def _row(self, name: str) -> DoorRow:
        return next(row for row in self.rows if row.way.name == name)


def measure_doors(generator: LoadGenerator, log: Path, effort: Effort) -> DoorCosts:
    """Measure all doors that the host has, in turns.

    Raises:
        StartError: the host did not start.
    """
    with _host(log) as side:
        # The first requests of a process pay for what stays, such as the import of a door.
        there = {way.name: _is_there(generator, way, side) for way in WAYS}
        ways = [way for way in WAYS if there[way.name]]
        first: dict[str, list[float]] = {way.name: [] for way in ways}
        full: dict[tuple[str, int], list[Measured]] = {}
        errors: Counter[str] = Counter()
        for turn in range(effort.rounds):
            in_order = ways if turn % 2 == 0 else ways[::-1]
            seen = _first_tokens(generator, in_order, side, effort.requests)
            errors.update(seen.errors)
            for place, way in enumerate(in_order):
                first[way.name] += (each for each in seen.first_tokens[place :: len(ways)] if each is not None)
            for streams in effort.streams:
                for way in in_order:
                    run = measure(generator, way.load(effort.seconds), streams, side)
                    full.setdefault((way.name, streams), []).append(run)
    rows = (
        DoorRow(
            way=way,
            first_tokens=tuple(first[way.name]),
            full={streams: tuple(full[way.name, streams]) for streams in effort.streams},
        )
        for way in ways
    )
    left_out = tuple(way for way in WAYS if way not in ways)
    return DoorCosts(rows=tuple(rows), left_out=left_out, first_token_errors=dict(errors))


def _is_there(generator: LoadGenerator, way: Way, side: Side) -> bool:
    """Ask by ``way`` for the first times; return whether the host has its door."""
    seen = measure(generator, way.load(requests=WARM_UP), 1, side).seen
    return not any(error.startswith(NOT_FOUND) for error in seen.errors)


def _first_tokens(generator: LoadGenerator, ways: Sequence[Way], side: Side, requests: int) -> Seen:
    """Have one client ask for few tokens, by one way after the other."""
    calls = tuple(way.call(side) for way in ways)
    return generator.do(Job(calls=calls, streams=1, requests=requests * len(ways), keeps_first_tokens=True))


@contextmanager
def _host(log: Path) -> Iterator[Side]:
    """A host with the scripted engine and an MCP server that it does not try to start twice."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mcp.json"
        config.write_text(json.dumps({"mcpServers": {"absent": {"command": str(Path(folder) / "absent")}}}))
        options = ["--mcp-config", str(config), "--wait-for-tools", "never", "--data-dir", str(Path(folder) / "data")]
        with host(["--engine", "scripted", "--alias", MODEL, *options], log) as side:
            yield side
