"""``docs/reference/metrics.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from modelhost.meters import Meters
from tools.reference.tables import table


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredMetric:
    """A metric as the code declares it. ``name`` is without the suffixes of its kind; ``buckets`` are a histogram's."""

    name: str
    kind: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    meaning: str


def declared_metrics() -> Iterator[DeclaredMetric]:
    """Every metric, in the order of the code."""
    for metric in vars(Meters).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            yield DeclaredMetric(
                name=family.name,
                kind=family.type,
                labels=tuple(metric._labelnames),  # the library has no public way to them
                buckets=tuple(metric._kwargs.get("buckets", ())),
                meaning=family.documentation,
            )


def metrics_page() -> str:
    """Every metric of ``/metrics``."""
    rows = [_metric_row(metric) for metric in declared_metrics()]
    return f"""# Metrics

`GET /metrics` returns Prometheus text format. A histogram `x` appears as `x_bucket`, `x_sum` and `x_count`. The label
`model` is the main name of a served model; it is empty for requests without an existing model.

{table(("Name", "Type", "Labels", "Meaning"), rows)}"""


def _metric_row(metric: DeclaredMetric) -> Sequence[str]:
    name = metric.name + ("_total" if metric.kind == "counter" else "")
    return f"`{name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.meaning
