"""Every file that is written into deploy/, as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tools.dashboards.grafana import dashboard
from tools.dashboards.rules import rule_file

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "modelhost.json"
RULES: Final = ROOT / "deploy" / "prometheus" / "modelhost.rules.yml"


def generated() -> Mapping[Path, str]:
    """Return the text of each file by its path."""
    return {DASHBOARD: dashboard(), RULES: rule_file()}
