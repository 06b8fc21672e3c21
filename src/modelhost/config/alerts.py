"""The rules of alerts: the ones that every host has, and the setting that changes them and adds others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from modelhost.config.value_types import is_http_url

Severity = Literal["info", "warning", "critical"]
Comparison = Literal[">", ">=", "<", "<="]
Kind = Literal["counter", "gauge", "share", "distribution"]

STATISTICS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "counter": ("increase", "rate"),
    "gauge": ("last", "mean", "min", "max"),
    "share": ("mean",),
    "distribution": ("p50", "p95", "p99", "mean"),
}
"""What can be computed of a metric over a window, the default first. ``rate`` is per second."""

METRICS: Final[Mapping[str, tuple[Kind, str]]] = {
    "requests": ("counter", "Answered requests."),
    "errors": ("counter", "Requests answered with an error."),
    "refusals": ("counter", "Requests that the host had no place for: full queues, waits, memory, failed models."),
    "memory_refusals": ("counter", "Requests refused because their model does not fit into memory (507)."),
    "cancelled": ("counter", "Requests whose client disconnected."),
    "tokens_in": ("counter", "Prompt tokens."),
    "tokens_out": ("counter", "Generated tokens."),
    "loads": ("counter", "Loads of the model."),
    "evictions": ("counter", "Evictions of the model."),
    "worker_exits": ("counter", "Workers that ended unexpectedly."),
    "audit_entries_lost": ("counter", "Audit log entries that the database did not accept."),
    "background_faults": ("counter", "Rounds of background work that failed because of a fault in the host."),
    "error_share": ("share", "Share of requests answered with an error, 0 to 1."),
    "refusal_share": ("share", "Share of requests that were refused, 0 to 1."),
    "queue_length": ("gauge", "Requests waiting for the model."),
    "requests_in_flight": ("gauge", "Requests at work."),
    "model_failed": ("gauge", "1 while the model cannot be started, otherwise 0."),
    "registry_ok": ("gauge", "0 while the registry file is broken."),
    "mcp_config_ok": ("gauge", "0 while `mcp.json` is broken."),
    "memory_used_share": ("gauge", "Share of the memory budget in use, 0 to 1, by pool: `ram`, `gpu:0` ..."),
    "gpu_temperature_celsius": ("gauge", "Temperature of each GPU: `gpu:0` ..."),
    "time_to_first_token_seconds": ("distribution", "From a request's arrival to the first piece of its answer."),
    "latency_seconds": ("distribution", "From a request's arrival to its last byte."),
}
"""The metrics that a rule may watch, with their kind and meaning."""

OF_THE_HOST: Final = frozenset({"audit_entries_lost", "background_faults", "registry_ok", "mcp_config_ok"})
"""Metrics of the host as a whole."""
EVERY_SUBJECT: Final = "*"
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)", re.ASCII)
_UNIT_SECONDS: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_SECONDS: Final = 86400.0
"""Of a window: what it needs is kept in memory."""
WHOLE_SENTENCE: Final = "whole_sentence"
"""Type of an error whose message needs nothing added (:mod:`modelhost.config.checks`)."""


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise PydanticCustomError("duration", "expected seconds, or text such as 90s, 5m or 2h")
    return float(found[1]) * _UNIT_SECONDS[found[2]]


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=LONGEST_SECONDS)]
Window = Annotated[float, BeforeValidator(_seconds), Field(ge=1, le=LONGEST_SECONDS)]


class AlertRule(BaseModel):
    """One rule: its alert is active for every model, pool or GPU of which the condition holds."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True, defer_build=True
    )

    metric: str
    statistic: str = ""
    """One of :data:`STATISTICS` for the metric's kind; empty: the first of them."""
    comparison: Comparison = ">"
    threshold: float
    window_seconds: Window = Field(default=300.0, alias="window")
    for_seconds: Seconds = Field(default=0.0, alias="for")
    """For how long the condition has to hold before the alert fires."""
    severity: Severity = "warning"
    models: list[str] = Field(default=[EVERY_SUBJECT], min_length=1)
    """Names or patterns of the models (or pools, GPUs) that it watches."""
    summary: str = ""
    """What it means and what to do, for people."""

    @model_validator(mode="after")
    def _checked(self) -> AlertRule:
        if self.metric not in METRICS:
            raise PydanticCustomError(
                "metric",
                'there is no metric "{name}"; there are {all}',
                {"name": self.metric, "all": ", ".join(METRICS)},
            )
        allowed = STATISTICS[METRICS[self.metric][0]]
        if self.statistic and self.statistic not in allowed:
            raise PydanticCustomError(
                "statistic",
                '"{metric}" has no statistic "{name}"; it has {all}',
                {"metric": self.metric, "name": self.statistic, "all": ", ".join(allowed)},
            )
        if self.metric in OF_THE_HOST and EVERY_SUBJECT not in self.models:
            raise PydanticCustomError(
                "models", '"{metric}" is of the host as a whole, and of no model', {"metric": self.metric}
            )
        if not self.statistic:
            object.__setattr__(self, "statistic", allowed[0])
        return self


def _rule(condition: str, summary: str, **more: str) -> Mapping[str, Any]:
    metric, comparison, threshold = condition.split()
    return {"metric": metric, "comparison": comparison, "threshold": float(threshold), "summary": summary, **more}


DEFAULT_RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "model-failed": _rule(
        "model_failed >= 1",
        "The model cannot be started. `modelhost models logs MODEL` shows why.",
        window="1m",
        severity="critical",
        **{"for": "1m"},
    ),
    "worker-exits": _rule(
        "worker_exits >= 3",
        "The model's worker keeps ending. `modelhost models logs MODEL` shows its last lines.",
        window="10m",
        severity="critical",
    ),
    "refusals": _rule(
        "refusal_share > 0.05",
        "Requests are refused. Give the model more slots or memory, or send fewer requests.",
        window="5m",
        **{"for": "2m"},
    ),
    "memory-refusals": _rule(
        "memory_refusals > 0",
        "A model does not fit into memory. Raise the memory budget, or choose a smaller model or context.",
        window="5m",
    ),
    "slow-first-token": _rule(
        "time_to_first_token_seconds > 10",
        "Answers begin late. Look at the queue, at loads of models, and at the length of prompts.",
        window="5m",
        statistic="p95",
        **{"for": "2m"},
    ),
    "registry-broken": _rule(
        "registry_ok < 1",
        "The registry file is broken; the one before it is in force. The log says what is wrong with it.",
        window="1m",
    ),
    "mcp-config-broken": _rule(
        "mcp_config_ok < 1",
        "The file of MCP servers is broken; the one before it is in force. The log says what is wrong.",
        window="1m",
    ),
    "audit-losses": _rule(
        "audit_entries_lost > 0",
        "Audit log entries were lost: the database does not accept them.",
        window="10m",
        severity="critical",
    ),
    "memory-near-budget": _rule(
        "memory_used_share > 0.95",
        "Nearly all of the memory budget is in use: the next load evicts a model, or is refused.",
        window="1m",
        severity="info",
        **{"for": "10m"},
    ),
    "gpu-hot": _rule(
        "gpu_temperature_celsius >= 88",
        "The GPU is hot, and may slow down. Check its cooling.",
        window="2m",
        statistic="min",
    ),
}
"""The rules of every host, as the setting would have them."""


def alert_rules(changes: Mapping[str, Any]) -> dict[str, AlertRule]:
    """Return the rules in force by name: the defaults with ``changes``, a checked value of the setting."""
    found = {}
    for name in {**DEFAULT_RULES, **changes}:
        fields = _fields(name, changes.get(name, {}))
        if fields is not None:
            found[name] = AlertRule.model_validate(fields)
    return found


def _fields(name: str, change: Any) -> dict[str, Any] | None:
    return None if change is False else {**DEFAULT_RULES.get(name, {}), **change}


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Validate the setting: rules by name, each with the fields that it changes, or ``false``; text is JSON.

    Raises:
        PydanticCustomError: with every problem and its place in one sentence.
    """
    found, problems = {}, []
    for name, given in changes.items():
        try:
            change = json.loads(given) if isinstance(given, str) else given
        except ValueError:
            change = None
        if _NAME.fullmatch(name) is None or not name.strip():
            problems.append(f'"{name[:100]}": the name of a rule has 1 to 100 characters, and no control characters')
            continue
        if change is False and name not in DEFAULT_RULES:
            problems.append(f'"{name}": no rule of the host has this name; there are {", ".join(DEFAULT_RULES)}')
            continue
        if change is not False and not isinstance(change, Mapping):
            problems.append(f'"{name}": expected the fields of a rule, or false to switch it off')
            continue
        found[name] = change
        problems += _problems(name, _fields(name, change))
    if problems:
        raise PydanticCustomError(WHOLE_SENTENCE, "{problems}", {"problems": "; ".join(problems)})
    return found


def _problems(name: str, fields: Mapping[str, Any] | None) -> list[str]:
    if fields is None:
        return []
    try:
        AlertRule.model_validate(fields)
    except ValidationError as error:
        return [f'"{".".join((name, *_place(detail)))}": {_reason(detail)}' for detail in error.errors()]
    return []


def _place(detail: Any) -> tuple[str, ...]:
    if detail["type"] in {"metric", "statistic"}:
        return (detail["type"],)
    return tuple(str(part) for part in detail["loc"])


def _reason(detail: Any) -> str:
    if detail["type"] == "missing":
        return "it is missing"
    if detail["type"] == "extra_forbidden":
        known = ", ".join(field.alias or key for key, field in AlertRule.model_fields.items())
        return f"a rule has no such field; it has {known}"
    return str(detail["msg"])


def _webhook(url: SecretStr) -> SecretStr:
    if not is_http_url(url.get_secret_value()):
        raise PydanticCustomError("webhook", "expected a URL such as https://alerts.example/hook")
    return url


AlertRules = Annotated[dict[str, Any], AfterValidator(checked)]
"""Value of the setting: what it changes of :data:`DEFAULT_RULES`, and further rules."""
Webhook = Annotated[SecretStr, Field(min_length=1), AfterValidator(_webhook)]
"""A URL, which may hold a password or a token."""
