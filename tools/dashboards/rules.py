"""Alert rules for Prometheus: those of the host that can be said of its metrics, and that the host is there at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from modelhost.config.alerts import AlertRule, alert_rules
from modelhost.monitor.alerts.source import MEMORY_REFUSAL, REFUSALS

HEAD: Final = (
    "# Written by `python -m tools.dashboards` from the code: change it there. Tested by modelhost.test.yml.\n"
)
BY: Final = "by (job, instance, model)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusRule:
    """A rule in Prometheus' terms."""

    expr: str
    for_seconds: float
    severity: str
    summary: str

    def json(self, name: str) -> dict[str, Any]:
        return {
            "alert": name,
            "expr": self.expr,
            "for": f"{self.for_seconds:g}s",
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary},
        }


def _minutes(rule: AlertRule) -> str:
    return f"{rule.window_seconds / 60:g}m"


def _counted(series: str, rule: AlertRule) -> str:
    """Return the condition that ``series`` grew; one that began within the window has no earlier value to grow from."""
    window, condition = _minutes(rule), f"{rule.comparison} {rule.threshold:g}"
    whole = f"sum {BY} (increase({series}[{window}])) {condition}"
    begun = f"sum {BY} ({series} unless {series} offset {window}) {condition}"
    return f"{whole} or {begun}"


def _refusal_share(rule: AlertRule) -> str:
    codes, window = "|".join(sorted(REFUSALS)), _minutes(rule)
    refused = f'sum {BY} (rate(modelhost_errors_total{{code=~"{codes}"}}[{window}]))'
    return f"{refused} / sum {BY} (rate(modelhost_requests_total[{window}])) {rule.comparison} {rule.threshold:g}"


def _first_token(rule: AlertRule) -> str:
    buckets = f"rate(modelhost_time_to_first_token_seconds_bucket[{_minutes(rule)}])"
    quantile = int(rule.statistic.removeprefix("p")) / 100
    summed = f"sum by (job, instance, model, le) ({buckets})"
    return f"histogram_quantile({quantile:g}, {summed}) {rule.comparison} {rule.threshold:g}"


def _expressions(rules: Mapping[str, AlertRule]) -> dict[str, str]:
    """Return the host's rules that need nothing but its metrics; the others need what only the host knows."""
    memory = f'modelhost_errors_total{{code="{MEMORY_REFUSAL}"}}'
    return {
        "model-failed": _counted(
            'modelhost_errors_total{code=~"model_failed|worker_start_failed"}',
            rules["model-failed"].model_copy(update={"window_seconds": 300.0}),
        ),
        "worker-exits": _counted("modelhost_worker_exits_total", rules["worker-exits"]),
        "refusals": _refusal_share(rules["refusals"]),
        "memory-refusals": _counted(memory, rules["memory-refusals"]),
        "slow-first-token": _first_token(rules["slow-first-token"]),
        "registry-broken": "modelhost_registry_ok < 1",
        "mcp-config-broken": "modelhost_mcp_config_ok < 1",
        "audit-losses": _counted("modelhost_audit_entries_lost_total", rules["audit-losses"]),
    }


def prometheus_rules() -> dict[str, PrometheusRule]:
    """Return all rules by name."""
    rules = alert_rules({})
    found = {
        "host-down": PrometheusRule(
            expr='up{job="modelhost"} < 1',
            for_seconds=60.0,
            severity="critical",
            summary="Prometheus gets no metrics from the host: it has stopped, or cannot be reached.",
        )
    }
    for name, expr in _expressions(rules).items():
        rule = rules[name]
        found[name] = PrometheusRule(
            expr=expr, for_seconds=rule.for_seconds, severity=rule.severity, summary=rule.summary
        )
    return found


def rule_file() -> str:
    """Return the file."""
    rules = [rule.json(name) for name, rule in prometheus_rules().items()]
    content = {"groups": [{"name": "modelhost", "rules": rules}]}
    return HEAD + yaml.safe_dump(content, sort_keys=False, width=110, allow_unicode=True)
