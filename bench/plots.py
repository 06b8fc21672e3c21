"""The graphs of the documentation: a real run of the bundled model under a growing load, as `get-metrics` shows it.

``python -m bench.plots`` writes ``docs/images/monitoring.svg``.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from bench.machine import describe
from modelhost.config.settings import Settings
from modelhost.errors import ModelhostError
from modelhost.host import Host
from modelhost.operations.metric_groups import ModelMetrics
from modelhost.operations.monitor import GET_METRICS, HistoryPoint, MetricParameters, MetricReport

FILE = Path(__file__).parent.parent / "docs" / "images" / "monitoring.svg"
CLIENTS = (1, 2, 4, 8, 16, 4, 0)
"""Clients at the same time, each for an equal part of the run."""
QUESTIONS = ("Hello!", "What is your name?", "Tell me a story about a fox.", "What is the capital of France?", "Bye!")
WRONG_SHARE = 0.05
"""Requests for a model that there is not."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 760, 120, 70, 20, 54, 40
MOST_STEPS = 4
"""Of the axis of a graph."""
COLOURS = ("#2a78b8", "#c2582a")

Value = Callable[[ModelMetrics], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph with a line for each of ``lines``, by its name."""

    title: str
    lines: dict[str, Value]


def _of(group: str, field: str, factor: float = 1.0) -> Value:
    """Return what takes a number out of a group; ``None`` where there is none."""

    def value(found: ModelMetrics) -> float | None:
        number = getattr(getattr(found, group), field, None)
        return None if number is None else number * factor

    return value


def _batch(found: ModelMetrics) -> float | None:
    throughput = found.throughput
    return throughput.avg_batch_size if throughput and throughput.batch_source == "engine" else None


GRAPHS = (
    Graph(title="Tokens per second", lines={"": _of("throughput", "tokens_per_second")}),
    Graph(
        title="Time to the first token (ms)",
        lines={name: _of("time_to_first_token", f"{name}_ms") for name in ("p50", "p95")},
    ),
    Graph(title="Requests in a step of the model", lines={"": _batch}),
    Graph(title="KV cache in use (%)", lines={"": _of("cache", "kv_cache_usage", 100)}),
    Graph(title="Failed requests", lines={"": _of("requests", "failed")}),
)


async def run_load(host: Host, seconds: float) -> None:
    """Let clients ask one question after the other."""
    chance = random.Random(1)

    async def ask_until(end: float) -> None:
        while asyncio.get_running_loop().time() < end:
            body: dict[str, Any] = {
                "messages": [{"role": "user", "content": chance.choice(QUESTIONS)}],
                "max_tokens": chance.randint(16, 96),
                "ignore_eos": True,
            }
            if chance.random() < WRONG_SHARE:
                body["model"] = "none"
            try:
                await host.call("chat", body)
            except ModelhostError:
                await asyncio.sleep(0.1)

    for clients in CLIENTS:
        end = asyncio.get_running_loop().time() + seconds / len(CLIENTS)
        await asyncio.gather(asyncio.sleep(seconds / len(CLIENTS)), *(ask_until(end) for _ in range(clients)))


async def measured(seconds: int) -> MetricReport:
    """Return the metrics of such a run."""
    with tempfile.TemporaryDirectory() as folder:
        async with Host(Settings(data_dir=folder)) as host:
            await host.call("chat", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8})
            await run_load(host, seconds)
            return await GET_METRICS.run(host, MetricParameters(duration_seconds=seconds, include_history=True))


def drawn(report: MetricReport, caption: str) -> str:
    """Return the graphs of a report as SVG."""
    height = TOP + len(GRAPHS) * (HEIGHT + GAP)
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#555">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="11">{escape(caption)}</text>',
    ]
    for number, graph in enumerate(GRAPHS):
        parts += _graph(graph, report, top=TOP + number * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _graph(graph: Graph, report: MetricReport, *, top: float) -> list[str]:
    history = report.history or []
    series = {name: [(point, value(point.metrics)) for point in history] for name, value in graph.lines.items()}
    ticks = ticks_up_to(max((found for line in series.values() for _, found in line if found is not None), default=0.0))
    highest = ticks[-1]
    parts = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{escape(graph.title)}</text>']
    for tick in ticks:
        y = top + HEIGHT * (1 - tick / highest)
        parts += [
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" fill="none" stroke="{"#ddd" if tick else "#999"}"/>',
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>',
        ]
    bottom = top + HEIGHT
    for number in range(len(CLIENTS) + 1):
        share = number / len(CLIENTS)
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        parts += [
            f'<path d="M{x:.1f} {bottom}v4" fill="none" stroke="#999"/>',
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{share * report.duration_seconds:,g} s</text>',
        ]
    for place, (name, line) in enumerate(series.items()):
        colour = COLOURS[place]
        parts.append(f'<path d="{_path(line, report, highest, top)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if name:
            x = WIDTH - RIGHT - 40 * (len(series) - place)
            parts.append(f'<text x="{x}" y="{top - 8}" fill="{colour}">{escape(name)}</text>')
    return parts


def ticks_up_to(highest: float) -> Sequence[float]:
    """Return up to :data:`MOST_STEPS` + 1 round numbers at equal distances, from 0 to ``highest`` or just above it."""
    highest = highest or 1.0
    power = 10.0 ** math.floor(math.log10(highest / MOST_STEPS))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if highest <= power * factor * MOST_STEPS)
    return [number * step for number in range(math.ceil(highest / step) + 1)]


def _path(line: Sequence[tuple[HistoryPoint, float | None]], report: MetricReport, highest: float, top: float) -> str:
    begin, steps = report.timestamp.timestamp() - report.duration_seconds, []
    for point, value in line:
        if value is not None:
            share = (point.timestamp.timestamp() + point.duration_seconds / 2 - begin) / report.duration_seconds
            x = LEFT + min(max(share, 0), 1) * (WIDTH - LEFT - RIGHT)
            steps.append(f"{x:.1f} {top + HEIGHT * (1 - value / highest):.1f}")
    return "M" + "L".join(steps) if steps else ""


def main() -> None:
    """Run, draw and write."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=210)
    seconds = options.parse_args().seconds
    machine = describe()
    report = asyncio.run(measured(seconds))
    loads = ", ".join(map(str, CLIENTS))
    caption = (
        f"modelhost-nano on llama.cpp; {loads} clients, {seconds / len(CLIENTS):g} s each; "
        f"{machine['cores']} cores, {datetime.now(UTC):%Y-%m-%d}"
    )
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(drawn(report, caption), "utf-8")


if __name__ == "__main__":
    main()
