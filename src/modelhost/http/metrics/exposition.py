"""The text of ``/metrics``, also under the names that dashboards of other servers read.

It is written in short pieces: in one, a thousand models would stop every stream for seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType
from typing import Final

from prometheus_client import Metric

from modelhost.config.value_types import MetricsAlias
from modelhost.http.metrics.metric_text import MetricText, escaped
from modelhost.meters import METERS
from modelhost.monitor.engine_reports import EngineReport, ReportedFamily
from modelhost.series import Meter, Series, SeriesSum, series_of

HOLD_SECONDS: Final = 0.0005
"""For how long the event loop is held before others have their turn; a piece more may be under way."""
LINES_AT_ONCE: Final = 16
GENERATION: Final = frozenset({"chat", "completions", "infill", "messages", "ollama_chat", "ollama_generate", "prompt"})
"""The operations that generate text."""


class Exposition:
    """The text of ``/metrics``; what it has written of a series it keeps until the series changes."""

    def __init__(self, meters: Iterable[Meter | RenamedMeter]) -> None:
        self._texts = [_text_of(meter) for meter in meters]

    async def render(self, more: Iterable[str] = ()) -> AsyncIterator[bytes]:
        """Yield what the meters say, in Prometheus' text format 0.0.4, in parts; ``more`` are further lines.

        The event loop has its turn about every :data:`HOLD_SECONDS`: samples of different models may differ in age by
        the time that the whole takes.
        """
        pieces: list[bytes] = []
        held_since = time.perf_counter()
        of_meters = chain.from_iterable(text.pieces(series()) for text, series in self._texts)
        for piece in chain(of_meters, _grouped(iter(more))):
            pieces.append(piece)
            if time.perf_counter() - held_since >= HOLD_SECONDS:
                yield b"".join(pieces)
                pieces.clear()
                await asyncio.sleep(0)
                held_since = time.perf_counter()
        yield b"".join(pieces)


def _text_of(meter: Meter | RenamedMeter) -> tuple[MetricText, Callable[[], Mapping[tuple[str, ...], Series]]]:
    if isinstance(meter, RenamedMeter):
        return MetricText(meter.family, ["model_name"], with_created=False), meter.series
    (family,) = meter.describe()
    return MetricText(family, meter._labelnames), lambda: series_of(meter)


def _grouped(lines: Iterator[str]) -> Iterator[bytes]:
    while group := "".join(islice(lines, LINES_AT_ONCE)):
        yield group.encode()


class RenamedMeter:
    """``meter`` under another name, by ``model_name``; what it counts for no known model is left out."""

    def __init__(self, name: str, meter: Meter, *, operations: Collection[str] = ()) -> None:
        """With ``operations``, the sum of those only."""
        self.name = name
        self._meter = meter
        self._operations = operations
        (family,) = meter.describe()
        self.family = Metric(name, family.documentation, family.type)

    def series(self) -> Mapping[tuple[str, ...], SeriesSum]:
        names = self._meter._labelnames
        found: dict[str, list[Series]] = defaultdict(list)
        for values, series in series_of(self._meter).items():
            labels = dict(zip(names, values, strict=True))
            if labels["model"] and (not self._operations or labels["operation"] in self._operations):
                found[labels["model"]].append(series)
        return {(model,): SeriesSum(series) for model, series in found.items()}


ALIASES: Final[Mapping[MetricsAlias, tuple[RenamedMeter, ...]]] = MappingProxyType(
    {
        "vllm": (
            RenamedMeter("vllm:num_requests_running", METERS.in_flight),
            RenamedMeter("vllm:num_requests_waiting", METERS.queue_length),
            RenamedMeter("vllm:prompt_tokens", METERS.tokens_in),
            RenamedMeter("vllm:generation_tokens", METERS.tokens_out),
            RenamedMeter("vllm:prefix_cache_queries", METERS.tokens_in),
            RenamedMeter("vllm:prefix_cache_hits", METERS.tokens_cached),
            RenamedMeter("vllm:time_to_first_token_seconds", METERS.time_to_first_token),
            RenamedMeter("vllm:request_time_per_output_token_seconds", METERS.time_between_tokens),
            RenamedMeter("vllm:e2e_request_latency_seconds", METERS.request_seconds, operations=GENERATION),
        )
    }
)
"""What each value of the setting ``metrics_alias`` adds: only names for which the host measures the same thing.

vLLM's are at https://docs.vllm.ai/en/latest/usage/metrics.html.
"""


KV_CACHE_USAGE: Final = "vllm:kv_cache_usage_perc"
TOTAL: Final = "_total"


def kv_cache_lines(reports: Mapping[str, EngineReport]) -> Iterator[str]:
    """Yield, under vLLM's name, the share of the KV cache in use, of each model whose engine reports it."""
    yield f"# HELP {KV_CACHE_USAGE} Share of the KV cache in use, 0 to 1.\n# TYPE {KV_CACHE_USAGE} gauge\n"
    for model, report in reports.items():
        if report.kv_usage is not None:
            yield f'{KV_CACHE_USAGE}{{model_name="{escaped(model)}"}} {report.kv_usage}\n'


def engine_lines(reports: Mapping[str, EngineReport], excluded: Collection[str] = ()) -> Iterator[str]:
    """Yield the lines of all metrics in ``reports``, by the name of the model.

    ``excluded`` are names, without ``_total``, that the host itself uses: no name may stand there twice.
    """
    families: dict[str, list[tuple[str, ReportedFamily]]] = {}
    for model, report in reports.items():
        for family in report.families:
            if family.name.removesuffix(TOTAL) not in excluded:
                families.setdefault(family.name, []).append((model, family))
    for name, of_models in families.items():
        first = of_models[0][1]
        yield f"# HELP {name} {first.help}\n# TYPE {name} {first.kind}\n"
        for model, family in of_models:
            own = f'model="{escaped(model)}"'
            for sample in family.samples:
                labels = f"{own},{sample.labels}" if sample.labels else own
                yield f"{sample.name}{{{labels}}} {sample.value}\n"
