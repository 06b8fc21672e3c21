"""The figures of the benchmark, as values: what is asked of the load generator, what it saw, and what a row shows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CONTROL_EVENTS = 3  # of a stream: the role, the finish reason, [DONE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """An API that streams: its path, and how its streams are written."""

    path: str
    line_feeds: int = 2
    """That end one event, those within it included."""
    end: bytes
    """What the last event holds."""
    control_events: int = CONTROL_EVENTS
    """Events of a stream of text that are no tokens."""
    leading_events: int = 1
    """Those of them that come before the first token."""
    messages_field: str = "messages"
    """The field of a request that holds the conversation."""


CHAT, RESPONSES, MESSAGES, OLLAMA = "chat", "responses", "messages", "ollama"
DOORS: Mapping[str, Door] = {
    CHAT: Door(path="/v1/chat/completions", end=b"data: [DONE]"),
    # The beginning, twice, and the end of the response, and those of its message and of its text; [DONE] is shorter.
    RESPONSES: Door(
        path="/v1/responses",
        line_feeds=3,
        end=b"data: [DONE]",
        control_events=8,
        leading_events=4,
        messages_field="input",
    ),
    # The beginning and the end of the message and of its block of text, and the stop reason.
    MESSAGES: Door(path="/v1/messages", line_feeds=3, end=b'"type":"message_stop"', control_events=5, leading_events=2),
    OLLAMA: Door(path="/api/chat", line_feeds=1, end=b'"done":true', control_events=1, leading_events=0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One kind of request: where it goes, its body, and the name of the door in :data:`DOORS`."""

    url: str
    api_key: str | None
    body: Mapping[str, Any]
    door: str = CHAT
    leading_events: int = 0
    """Events of an answer before that of its first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of the load generator: each of ``streams`` begins requests until it has begun ``requests`` of them and
    ``seconds`` have passed, one connection per request. It takes one call after the other, the second stream begins
    with the second call.

    Servers of other makers put one token into an event, or several, or none. With ``expected_tokens`` tokens are
    counted by the usage that the servers tell, which has to be that many, and a first token is the first text.
    """

    calls: tuple[Call, ...]
    streams: int
    requests: int = 1
    seconds: float = 0.0
    expected_events: int | None = None
    expected_tokens: int | None = None
    longest_seconds: float = 60.0
    """A request that takes longer has hung."""
    keeps_first_tokens: bool = False
    """Whether the time to the first token of each request is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the load generator saw; times in seconds."""

    requests: int
    events: int
    seconds: float
    first_token_p50: float
    first_token_p95: float
    between_p50: float
    between_p95: float
    client_cpu_seconds: float
    errors: Mapping[str, int] = field(default_factory=dict)
    first_token_p99: float = 0.0
    tokens: int | None = None
    """As the server told; ``None`` where each event is taken for a token."""
    first_tokens: Sequence[float | None] = ()
    """The times to the first token in the order in which the requests ended, if they are kept; none of a failed one."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens that came, per second of the run."""
        events = max(0, self.events - CONTROL_EVENTS * self.requests)
        return (events if self.tokens is None else self.tokens) / self.seconds if self.seconds else 0.0

    @property
    def requests_per_second(self) -> float:
        """Requests that were answered, per second of the run."""
        return (self.requests - sum(self.errors.values())) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run on one side: what the client saw and what it cost the process in front of it."""

    seen: Seen
    cpu_seconds: float
    rss_bytes: int
    kernel_seconds: float = 0.0
    """The part of ``cpu_seconds`` that system calls took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Bare worker and host at one load and one number of streams, over all rounds."""

    load: str
    streams: int
    bare: tuple[Measured, ...]
    host: tuple[Measured, ...]

    @property
    def ratio(self) -> float | None:
        """Tokens per second of the host over those of the bare worker: the median of the rounds' ratios."""
        pairs = zip(self.bare, self.host, strict=False)
        ratios = [
            host.seen.tokens_per_second / bare.seen.tokens_per_second
            for bare, host in pairs
            if bare.seen.tokens_per_second
        ]
        return statistics.median(ratios) if ratios else None

    @property
    def added_first_token_seconds(self) -> float | None:
        """What the host adds to the time to the first token (p50): the median of the rounds' differences."""
        pairs = zip(self.bare, self.host, strict=False)
        added = [host.seen.first_token_p50 - bare.seen.first_token_p50 for bare, host in pairs]
        return statistics.median(added) if added else None

    @property
    def host_cpu_per_1000_chunks(self) -> float | None:
        """CPU seconds of the host's process for 1,000 chunks."""
        events = sum(run.seen.events for run in self.host)
        return 1000 * sum(run.cpu_seconds for run in self.host) / events if events else None

    @property
    def host_kernel_share(self) -> float | None:
        """The share of the host's CPU time that system calls took."""
        whole = sum(run.cpu_seconds for run in self.host)
        return sum(run.kernel_seconds for run in self.host) / whole if whole else None

    @property
    def host_rss_bytes(self) -> int | None:
        """The most memory that the host's process was seen to hold."""
        return max((run.rss_bytes for run in self.host), default=None)

    def median(self, side: str, figure: str) -> float | None:
        """The median over the rounds of a figure of :class:`Seen`, for the side ``bare`` or ``host``."""
        runs: Sequence[Measured] = self.bare if side == "bare" else self.host
        return statistics.median(getattr(run.seen, figure) for run in runs) if runs else None

    def errors(self, side: str) -> dict[str, int]:
        """What went wrong on one side, with how often."""
        total: dict[str, int] = {}
        for run in self.bare if side == "bare" else self.host:
            for what, count in run.seen.errors.items():
                total[what] = total.get(what, 0) + count
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """Seconds from the start of a process to being ready: of the bare worker, and of the host that starts one like it.

    ``after_worker_seconds`` is from the host's worker being ready, as the host logs it, to the host being ready.
    """

    engine: str
    worker_seconds: tuple[float, ...]
    host_seconds: tuple[float, ...]
    after_worker_seconds: tuple[float, ...]


def percentile(weighted: Sequence[tuple[float, int]], share: float) -> float:
    """Return the value below which ``share`` of the weight lies; ``weighted`` holds (value, how often)."""
    if not weighted:
        return 0.0
    ordered = sorted(weighted)
    wanted = share * sum(count for _, count in ordered)
    passed = 0
    for value, count in ordered:
        passed += count
        if passed >= wanted:
            return value
    return ordered[-1][0]
