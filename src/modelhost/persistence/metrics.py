"""The metrics at one moment, to be kept."""

from __future__ import annotations

from typing import Any, Final

from modelhost.meters import REGISTRY

LEFT_OUT: Final = ("_bucket", "_created")
"""Endings of names: of a histogram its count and its sum are kept."""


def metrics_now() -> dict[str, Any]:
    """Return the samples of every metric by its name, each with its labels and its value."""
    found: dict[str, list[dict[str, Any]]] = {}
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if not sample.name.endswith(LEFT_OUT):
                found.setdefault(sample.name, []).append({"labels": dict(sample.labels), "value": sample.value})
    return found
