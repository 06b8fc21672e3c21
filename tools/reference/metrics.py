"""``docs/reference/metrics.md``."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.metrics import MetricWrapperBase

from modelhost.meters import Meters
from tools.reference.tables import table


def metrics_page() -> str:
    """Every metric of ``/metrics``."""
    metrics = [metric for metric in vars(Meters).values() if isinstance(metric, MetricWrapperBase)]
    rows = [_metric_row(metric) for metric in metrics]
    return f"""# Metrics

`GET /metrics` answers in Prometheus' text format. A histogram `x` is read as `x_bucket`, `x_sum` and `x_count`. The
label `model` is the main name of a model that is served; it is empty where a request named none that exists.

{table(("Name", "Type", "Labels", "Meaning"), rows)}"""


def _metric_row(metric: MetricWrapperBase) -> Sequence[str]:
    (family,) = metric.describe()
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"`{name}`", family.type, labels, family.documentation
