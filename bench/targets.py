"""What the host has to reach. A figure that is missed is printed as missed; nothing is hidden and nothing fails."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.alternation import Alternation
from bench.figures import Row, Startup
from bench.first_use import FirstUse
from bench.loads import FIRST, FULL, NANO, PACED, SINGLE
from bench.tools import SERVERS, STEPS, WAITS, ToolCosts

MB = 1_000_000
LEAST_RATIO = {
    **{(PACED, streams): 0.97 for streams in (1, 8, 32, 128)},
    (FULL, 128): 0.8,
    (SINGLE, 128): 0.8,
    (NANO, 8): 0.97,
    (NANO, 32): 0.97,
}
MOST_ADDED_FIRST_TOKEN_SECONDS = 0.0006  # p50 at one client
MOST_RSS_BYTES = 120 * MB
MOST_AFTER_WORKER_SECONDS = 0.5
MOST_ADDED_FIRST_USE_SECONDS = 0.060
LEAST_TOGETHER_RATIO = 0.97
MOST_TOGETHER_SECONDS = 0.3
MOST_ADDED_CALL_SECONDS = 0.001
MOST_LOOP_RATIO = 0.9
MOST_AFTER_SLOWEST_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A target beside what was measured."""

    what: str
    target: str
    measured: str
    is_reached: bool


def checks_of(row: Row) -> tuple[Check, ...]:
    """Return the targets that apply to ``row``, none where the host was not measured."""
    found = []
    least, ratio = LEAST_RATIO.get((row.load, row.streams)), row.ratio
    if least is not None and ratio is not None:
        found.append(_check("tokens/s, host over bare", ratio, least, "{:.2f}".format, at_least=True))
    added = row.added_first_token_seconds
    if row.load == FIRST and row.streams == 1 and added is not None:
        found.append(_check("added to the first token", added, MOST_ADDED_FIRST_TOKEN_SECONDS, _milliseconds))
    return tuple(found)


def memory_check(rows: Sequence[Row]) -> Check | None:
    """Return the target of the host's memory, which holds for all loads; none where no host was measured."""
    most = max((size for row in rows if (size := row.host_rss_bytes) is not None), default=None)
    return None if most is None else _check("memory of the host", most, MOST_RSS_BYTES, _megabytes)


def startup_check(startup: Startup) -> Check | None:
    """Return the target of a start, none where the host's log did not say when its worker was ready."""
    if not startup.after_worker_seconds:
        return None
    after = statistics.median(startup.after_worker_seconds)
    return _check("serve ready after its worker", after, MOST_AFTER_WORKER_SECONDS, "{:.2f} s".format)


def first_use_check(seen: FirstUse) -> Check:
    """Return the target of a model that is not loaded."""
    added, most = seen.added_seconds, MOST_ADDED_FIRST_USE_SECONDS
    return _check("added to the first token", added, most, _whole_milliseconds)


def together_check(row: Alternation) -> Check | None:
    """Return the target of two loaded models in one host, none where nothing was answered."""
    ratio = row.ratio
    if ratio is None:
        return None
    return _check("requests/s, one host over two", ratio, LEAST_TOGETHER_RATIO, "{:.2f}".format, at_least=True)


def tool_checks(costs: ToolCosts) -> tuple[Check, ...]:
    """Return the targets of tools."""
    together, slowest = statistics.median(costs.together), costs.all_servers - costs.slowest
    return (
        _check(f"{WAITS} tools of 200 ms in one turn", together, MOST_TOGETHER_SECONDS, _whole_milliseconds),
        _check("added to a call of the bare SDK", costs.added_call_seconds, MOST_ADDED_CALL_SECONDS, _milliseconds),
        _check(f"loop of {STEPS} steps, inside over outside", costs.loop_ratio, MOST_LOOP_RATIO, "{:.2f}".format),
        _check(f"{SERVERS} servers, after the slowest", slowest, MOST_AFTER_SLOWEST_SECONDS, "{:.2f} s".format),
    )


def _check(what: str, value: float, limit: float, render: Callable[[float], str], *, at_least: bool = False) -> Check:
    return Check(
        what=what,
        target=f"{'at least' if at_least else 'at most'} {render(limit)}",
        measured=render(value),
        is_reached=value >= limit if at_least else value <= limit,
    )


def _megabytes(size: float) -> str:
    return f"{size / MB:.0f} MB"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _whole_milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
