"""Makes the alerts of a host: what they watch, where they are stored, whom they are sent to."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from typing import Final

from modelhost.config.alerts import alert_rules
from modelhost.config.settings import Settings
from modelhost.models.files.memory_pools import GPU, memory_in
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.status import State
from modelhost.monitor.alerts.service import Alerts, Destinations, Measured
from modelhost.monitor.alerts.source import Distributions, Probe
from modelhost.monitor.alerts.webhooks import Webhooks
from modelhost.monitor.cells import HOST
from modelhost.monitor.monitor import Monitor
from modelhost.state.store import StateStore
from modelhost.tools.toolbox import Toolbox
from modelhost.workers.gpu_stats import gpu_stats

EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 (not to listen on)
TEMPERATURE: Final = "gpu_temperature_celsius"


class GpuTemperatures:
    """The temperatures of this machine's GPUs, as they were read last."""

    def __init__(self) -> None:
        self.values: Mapping[str, float] = {}

    async def refresh(self) -> None:
        """Read them; on a machine without GPUs there are none."""
        stats = await asyncio.to_thread(gpu_stats)
        self.values = {f"{GPU}{gpu.index}": float(gpu.temperature_c) for gpu in stats if gpu.temperature_c is not None}


def alerts_of(
    settings: Settings, state: StateStore, collection: ModelCollection, toolbox: Toolbox, monitor: Monitor
) -> Alerts:
    """Return the alerts of the host that has these parts; they are to be started, and stopped."""
    webhooks = Webhooks(settings.alert_webhook, external_url=_address(settings))
    temperatures = GpuTemperatures()
    return Alerts(
        alert_rules(settings.alerts),
        measured=Measured(
            probes={**_probes(collection, toolbox), TEMPERATURE: lambda: temperatures.values},
            refresh={TEMPERATURE: temperatures.refresh},
            sources=[Distributions(monitor, source=state.metrics.source)],
        ),
        destinations=Destinations(host=state.metrics.source, store=state.alerts, notifier=webhooks),
        interval_seconds=settings.alert_interval,
    )


def _probes(collection: ModelCollection, toolbox: Toolbox) -> Mapping[str, Probe]:

    def failed_models() -> Mapping[str, float]:
        records = collection.scheduler.ledger.records
        return {name: float(record.state is State.FAILED) for name, record in records.items()}

    def memory_used() -> Mapping[str, float]:
        occupancy = collection.scheduler.ledger.occupancy
        used = occupancy.used()
        return {pool: used.get(pool, 0) / count for pool, count in memory_in(occupancy.budget).items() if count}

    def registry() -> Mapping[str, float]:
        return {} if collection.registry.current is None else {HOST: float(collection.registry.error is None)}

    def mcp_config() -> Mapping[str, float]:
        return {} if toolbox.path is None else {HOST: float(toolbox.file_error is None)}

    return {
        "model_failed": failed_models,
        "memory_used_share": memory_used,
        "registry_ok": registry,
        "mcp_config_ok": mcp_config,
    }


def _address(settings: Settings) -> str:
    """Return the address of the host for links in messages; empty if the system chooses its port."""
    if not settings.port:
        return ""
    name = platform.node() if settings.host in EVERYWHERE else settings.host
    return f"http://[{name}]:{settings.port}" if ":" in name else f"http://{name}:{settings.port}"
