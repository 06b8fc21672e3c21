"""The text of ``/metrics``, also under the names that dashboards of other servers read.

It is written in short pieces: in one, a thousand models would stop every stream for seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, Final, Protocol

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from modelhost.config.settings import MetricsAlias
from modelhost.meters import METERS, Meter
from modelhost.monitor.engine_reports import EngineReport, ReportedFamily

HOLD_SECONDS: Final = 0.001
"""For how long the event loop is held before others have their turn; a piece more may be under way."""
LINES_AT_ONCE: Final = 16
CREATED: Final = "_created"
"""The ending of the samples that the text format has as a metric of their own, after the others."""
GENERATION: Final = frozenset({"chat", "completions", "infill", "messages", "ollama_chat", "ollama_generate", "prompt"})
"""The operations that generate text."""


class Sampled(Protocol):
    """A metric, such as one of the library's."""

    def describe(self) -> Iterable[Metric]:
        """Return the metric without samples: one."""

    def _samples(self) -> Iterable[Sample]:
        """Return its samples, each with the ending of its name."""


async def render_metrics(meters: Iterable[Sampled], more: Iterable[str] = ()) -> AsyncIterator[bytes]:
    """Yield what ``meters`` say, in Prometheus' text format 0.0.4, in parts; ``more`` are further lines.

    The event loop has its turn about every :data:`HOLD_SECONDS`: samples of different models may differ in age by the
    time that the whole takes.
    """
    pieces: list[bytes] = []
    held_since = time.perf_counter()
    for piece in chain(_pieces(meters), _grouped(iter(more))):
        pieces.append(piece)
        if time.perf_counter() - held_since >= HOLD_SECONDS:
            yield b"".join(pieces)
            pieces.clear()
            await asyncio.sleep(0)
            held_since = time.perf_counter()
    yield b"".join(pieces)


def _pieces(meters: Iterable[Sampled]) -> Iterator[bytes]:
    for meter in meters:
        (family,) = meter.describe()
        yield generate_latest(_Family(family))
        created: list[str] = []
        yield from _grouped(_lines(meter, family.name, created))
        if created:
            yield generate_latest(_Family(Metric(family.name + CREATED, family.documentation, "gauge")))
            yield from _grouped(iter(created))


def _grouped(lines: Iterator[str]) -> Iterator[bytes]:
    while group := "".join(islice(lines, LINES_AT_ONCE)):
        yield group.encode()


def _lines(meter: Sampled, name: str, created: list[str]) -> Iterator[str]:
    """Yield a line for each sample of ``meter``, but add those of :data:`CREATED` to ``created``.

    The library has the same for whole metrics only: its `collect` lists all their samples before the first is written.
    """
    for sample in meter._samples():
        value: str = floatToGoString(sample.value)  # type: ignore[no-untyped-call]
        line = f"{name}{sample.name}{_labels(sample.labels)} {value}\n"
        if sample.name == CREATED:
            created.append(line)
        else:
            yield line


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{escaped(labels[name])}"' for name in sorted(labels)]) + "}"


def escaped(value: str) -> str:
    """Return ``value`` as it stands in a label."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class _Family(Collector):
    """What the library writes as text: one metric, here without samples."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


class RenamedMeter:
    """``meter`` under another name, by ``model_name``; what it counts for no known model is left out."""

    def __init__(self, name: str, meter: Meter, *, operations: Collection[str] = ()) -> None:
        """With ``operations``, the sum of those only."""
        self.name = name
        self._meter = meter
        self._operations = operations
        (self._family,) = meter.describe()

    def describe(self) -> Iterable[Metric]:
        """Return the metric without samples, as the library's meters do."""
        return [Metric(self.name, self._family.documentation, self._family.type)]

    def _samples(self) -> Iterator[Sample]:
        """Yield the samples, one model after the other."""
        for model, children in self._by_model().items():
            values: dict[tuple[str, str | None], float] = defaultdict(float)
            for child in children:
                for sample in child._samples():
                    if sample.name != CREATED:
                        values[sample.name, sample.labels.get("le")] += sample.value
            for (suffix, bound), value in values.items():
                labels = {"model_name": model} if bound is None else {"model_name": model, "le": bound}
                yield Sample(suffix, labels, value, None, None)

    def _by_model(self) -> Mapping[str, list[Any]]:
        names = self._meter._labelnames
        found: dict[str, list[Any]] = defaultdict(list)
        for values, child in self._meter._metrics.copy().items():
            labels = dict(zip(names, values, strict=True))
            if labels["model"] and (not self._operations or labels["operation"] in self._operations):
                found[labels["model"]].append(child)
        return found


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


TOTAL: Final = "_total"


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
