"""The dashboard in Grafana's format (https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tools.dashboards.panels import ROWS, Panel

WIDTH: Final = 24
"""Of a dashboard, in Grafana's units."""
COLUMNS: Final = 2
HEIGHT: Final = 8
SCHEMA: Final = 39
"""The version of the format: Grafana 10.4; later ones convert it."""
SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> str:
    """Return the file."""
    content = {
        "uid": "modelhost",
        "title": "modelhost",
        "tags": ["modelhost", "llm"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), _variable("instance"), _variable("model")]},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_panels()),
    }
    return json.dumps(content, indent=2) + "\n"


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _variable(label: str) -> dict[str, Any]:
    metric = "modelhost_requests_total" if label == "model" else "modelhost_registry_ok"
    query = f"label_values({metric}, {label})"
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "sort": 1,
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top},
        }
        top += 1
        for at, panel in enumerate(panels):
            number += 1
            left, below = at % COLUMNS * (WIDTH // COLUMNS), at // COLUMNS * HEIGHT
            yield _graph(number, panel, left, top + below)
        top += -(-len(panels) // COLUMNS) * HEIGHT


def _graph(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expression, "legendFormat": legend.strip()}
        for at, (legend, expression) in enumerate(panel.lines.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH // COLUMNS, "x": left, "y": top},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"lineWidth": 1, "fillOpacity": 10}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": targets,
    }
