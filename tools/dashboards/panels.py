"""The panels of the dashboard: what each shows, and the expressions that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CHOSEN: Final = 'instance=~"$instance"'
OF_MODEL: Final = f'{CHOSEN}, model=~"$model"'
QUANTILES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A graph over time. ``lines`` are expressions by their legend; ``unit`` is one of Grafana's."""

    title: str
    description: str
    unit: str
    lines: Mapping[str, str]


def _rate(counter: str, *by: str, labels: str = OF_MODEL) -> str:
    return f"sum by ({', '.join(by)}) (rate({counter}{{{labels}}}[$__rate_interval]))"


def _total(gauge: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) ({gauge}{{{OF_MODEL}}})"


def _quantiles(histogram: str, *by: str, labels: str = OF_MODEL) -> dict[str, str]:
    """Return the quantiles of a histogram; its buckets bound how precise they are."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    return {
        f"{legend} p{quantile * 100:.0f}": f"histogram_quantile({quantile}, "
        + _rate(f"{histogram}_bucket", *by, "le", labels=labels)
        + ")"
        for quantile in QUANTILES
    }


ROWS: Final[Mapping[str, Sequence[Panel]]] = {
    "Traffic": (
        Panel(
            title="Requests",
            description="Answered requests per second, by operation and status.",
            unit="reqps",
            lines={"{{operation}} {{status}}": _rate("modelhost_requests_total", "operation", "status")},
        ),
        Panel(
            title="Errors",
            description="Requests answered with an error per second, by its code.",
            unit="reqps",
            lines={"{{code}}": _rate("modelhost_errors_total", "code")},
        ),
        Panel(
            title="Tokens",
            description="Tokens per second: of prompts, of those from the cache, and generated.",
            unit="short",
            lines={
                "{{model}} in": _rate("modelhost_tokens_in_total", "model"),
                "{{model}} cached": _rate("modelhost_tokens_cached_total", "model"),
                "{{model}} out": _rate("modelhost_tokens_out_total", "model"),
            },
        ),
        Panel(
            title="Requests at work and waiting",
            description="Requests in flight, and requests that wait for their model.",
            unit="short",
            lines={
                "{{model}} at work": _total("modelhost_requests_in_flight", "model"),
                "{{model}} waiting": _total("modelhost_queue_length", "model"),
            },
        ),
        Panel(
            title="Disconnected clients",
            description="Requests whose client disconnected before the end, per second.",
            unit="reqps",
            lines={"{{model}}": _rate("modelhost_cancelled_total", "model")},
        ),
        Panel(
            title="Prompt cache",
            description="Share of prompt tokens that came from the cache.",
            unit="percentunit",
            lines={
                "{{model}}": f"{_rate('modelhost_tokens_cached_total', 'model')}"
                f" / ({_rate('modelhost_tokens_in_total', 'model')} > 0)"
            },
        ),
    ),
    "Latency": (
        Panel(
            title="Time to first token",
            description="From a request's arrival to the first piece of its answer.",
            unit="s",
            lines=_quantiles("modelhost_time_to_first_token_seconds", "model"),
        ),
        Panel(
            title="Time between tokens",
            description="Mean time between the tokens of an answer.",
            unit="s",
            lines=_quantiles("modelhost_time_between_tokens_seconds", "model"),
        ),
        Panel(
            title="Requests",
            description="From a request's arrival to its last byte.",
            unit="s",
            lines=_quantiles("modelhost_request_seconds", "operation"),
        ),
        Panel(
            title="Waiting",
            description="Waiting time of requests that had to wait for their model.",
            unit="s",
            lines=_quantiles("modelhost_queue_seconds", "model"),
        ),
    ),
    "Models": (
        Panel(
            title="Ready",
            description="1 while the model can answer.",
            unit="short",
            lines={"{{model}} {{instance}}": _total("modelhost_model_ready", "model", "instance")},
        ),
        Panel(
            title="Memory of workers",
            description="By model and pool.",
            unit="bytes",
            lines={"{{model}} {{pool}}": _total("modelhost_model_memory_bytes", "model", "pool")},
        ),
        Panel(
            title="Slots",
            description="Conversations that the engine processes, and can process, at the same time.",
            unit="short",
            lines={
                "{{model}} in use": _total("modelhost_slots_in_use", "model"),
                "{{model}} all": _total("modelhost_slots", "model"),
            },
        ),
        Panel(
            title="Loads and evictions",
            description="In the last hour.",
            unit="short",
            lines={
                "{{model}} loads": f"sum by (model) (increase(modelhost_model_loads_total{{{OF_MODEL}}}[1h]))",
                "{{model}} evictions": f"sum by (model) (increase(modelhost_model_evictions_total{{{OF_MODEL}}}[1h]))",
            },
        ),
        Panel(
            title="Load time",
            description="From the start of a worker until it is ready.",
            unit="s",
            lines=_quantiles("modelhost_load_seconds", "model"),
        ),
        Panel(
            title="Worker exits",
            description="Workers that ended unexpectedly since the host was started.",
            unit="short",
            lines={"{{model}}": _total("modelhost_worker_exits_total", "model")},
        ),
    ),
    "Tools and administration": (
        Panel(
            title="Tool calls",
            description="Calls of MCP servers' tools per second, by outcome.",
            unit="ops",
            lines={
                "{{server}} {{tool}} {{outcome}}": _rate(
                    "modelhost_tool_calls_total", "server", "tool", "outcome", labels=CHOSEN
                )
            },
        ),
        Panel(
            title="Time of tool calls",
            description="From a call to its outcome, including the wait for approval or input.",
            unit="s",
            lines=_quantiles("modelhost_tool_call_seconds", "server", "tool", labels=CHOSEN),
        ),
        Panel(
            title="Operations",
            description="Administrative operations per second, by face and outcome.",
            unit="ops",
            lines={
                "{{operation}} {{face}} {{outcome}}": _rate(
                    "modelhost_operations_total", "operation", "face", "outcome", labels=CHOSEN
                )
            },
        ),
        Panel(
            title="Calls of the host's MCP servers",
            description="Per second, by outcome.",
            unit="ops",
            lines={"{{tool}} {{outcome}}": _rate("modelhost_mcp_calls_total", "tool", "outcome", labels=CHOSEN)},
        ),
    ),
    "Host": (
        Panel(
            title="Configuration files",
            description="0 while the registry of models or `mcp.json` is broken.",
            unit="short",
            lines={
                "{{instance}} registry": f"modelhost_registry_ok{{{CHOSEN}}}",
                "{{instance}} mcp.json": f"modelhost_mcp_config_ok{{{CHOSEN}}}",
            },
        ),
        Panel(
            title="Faults",
            description="Background work that failed, and audit log entries that were lost, in the last hour.",
            unit="short",
            lines={
                "{{instance}} {{task}}": f"increase(modelhost_background_faults_total{{{CHOSEN}}}[1h])",
                "{{instance}} audit entries lost": f"increase(modelhost_audit_entries_lost_total{{{CHOSEN}}}[1h])",
            },
        ),
    ),
}
"""The panels in their order, by row."""
