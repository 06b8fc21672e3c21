"""The answer to ``GET /health?deep=true``: what a host depends on is looked at, and what is wrong has a reason.

What can take long is looked at side by side, each for a few seconds at most.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from modelhost.errors import DatabaseUnavailable, ModelhostError, ToolServerUnavailable, WorkerStartFailed
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.status import ModelStatus, State
from modelhost.tools.status import ServerReport, ServerState
from modelhost.workers.remote.servers import RemoteServers

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.workers.remote.endpoint import Endpoint

Grade = Literal["ok", "degraded", "failed"]

CHECK_SECONDS: Final = 5.0
"""Limit for each thing that is looked at."""
STATUSES_AT_ONCE: Final = 20
"""Models whose status is put together before others have their turn: about a millisecond."""
LOW_DISK_BYTES: Final = 1_000_000_000
FULL_DISK_BYTES: Final = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The health of one thing. ``reason`` says why it is not ``ok``; ``details`` are further fields of the answer."""

    status: Grade = "ok"
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return {"status": self.status, "reason": self.reason, **self.details}


Checks = Mapping[str, Check]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of a host."""

    models: Checks
    mcp_servers: Checks
    database: Check
    disk: Check

    @property
    def status(self) -> Grade:
        """``failed``: no model can answer, or the database or the disk does not work. ``degraded``: something else."""
        can_answer = any(check.status != "failed" for check in self.models.values())
        if not can_answer or "failed" in {self.database.status, self.disk.status}:
            return "failed"
        everything = [self.database, self.disk, *self.models.values(), *self.mcp_servers.values()]
        return "ok" if all(check.status == "ok" for check in everything) else "degraded"

    def json(self) -> dict[str, Any]:
        """Return the answer; ``reasons`` are all of them in sentences."""
        named = {
            **{f"Model {name}": check for name, check in self.models.items()},
            **{f"MCP server {name}": check for name, check in self.mcp_servers.items()},
            "Database": self.database,
            "Disk": self.disk,
        }
        return {
            "status": self.status,
            "reasons": [f"{name}: {check.reason}" for name, check in named.items() if check.status != "ok"],
            "models": {name: check.json() for name, check in self.models.items()},
            "mcp_servers": {name: check.json() for name, check in self.mcp_servers.items()},
            "database": self.database.json(),
            "disk": self.disk.json(),
        }


async def deep_health(host: Host) -> Health:
    """Look at everything now."""
    models, servers, database, disk = await asyncio.gather(
        _models(host), _mcp_servers(host), _database(host), asyncio.to_thread(disk_check, host.state.data_dir)
    )
    return Health(models=models, mcp_servers=servers, database=database, disk=disk)


async def _models(host: Host) -> Checks:
    with suppress(TimeoutError):  # what is not known after that long is left out
        async with asyncio.timeout(CHECK_SECONDS):
            await host.refresh_previews()
    statuses = await _statuses(host)
    loaded = [model for model in host.models if model.worker is not None and model.name in statuses]
    reached = await asyncio.gather(*(_is_reachable(model) for model in loaded))
    unreachable = {model.name for model, is_reached in zip(loaded, reached, strict=True) if not is_reached}
    looked_at = await asyncio.gather(*(_endpoints(model) for model in loaded))
    records = host.collection.scheduler.ledger.records
    endpoints = {
        **{name: _failed_endpoints(record.last_error) for name, record in records.items()},
        **{model.name: checks for model, checks in zip(loaded, looked_at, strict=True)},
    }
    return {
        name: model_check(status, is_reachable=name not in unreachable, endpoints=endpoints.get(name, {}))
        for name, status in statuses.items()
    }


async def _statuses(host: Host) -> Mapping[str, ModelStatus]:
    """Return the status of each model; the event loop has its turn in between, for there may be a thousand."""
    found: dict[str, ModelStatus] = {}
    for number, model in enumerate(host.models, start=1):
        found[model.name] = host.collection.scheduler.status(model)
        if number % STATUSES_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


async def _is_reachable(model: HostedModel) -> bool:
    worker = model.worker
    if worker is None:  # it has ended meanwhile, which its state says
        return True
    with suppress(TimeoutError):
        async with asyncio.timeout(CHECK_SECONDS):
            return await worker.process.is_reachable()
    return False


async def _endpoints(model: HostedModel) -> Checks:
    """Return the health of the servers of a remote model that is loaded."""
    servers = model.worker.process if model.worker is not None else None
    if not isinstance(servers, RemoteServers):
        return {}
    reasons = await asyncio.gather(*(_limited(_trouble(servers, endpoint)) for endpoint in servers.endpoints))
    names = [endpoint.name for endpoint in servers.endpoints]
    return {
        name: Check(status="failed" if reason else "ok", reason=reason)
        for name, reason in zip(names, reasons, strict=True)
    }


async def _trouble(servers: RemoteServers, endpoint: Endpoint) -> str | None:
    """Check a server now: the regular checks may be some seconds old."""
    await servers.check(endpoint)
    return None if endpoint.trouble is None else str(endpoint.trouble)


def _failed_endpoints(error: ModelhostError | None) -> Checks:
    """Return the health of the servers of a remote model that could not be loaded."""
    reasons = error.details.get("endpoints", {}) if isinstance(error, WorkerStartFailed) else {}
    return {name: Check(status="failed", reason=reason) for name, reason in reasons.items()}


def model_check(status: ModelStatus, *, is_reachable: bool, endpoints: Checks) -> Check:
    """Return the health of a model: one that can be loaded is as good as one that is."""
    details: dict[str, Any] = {"state": status.state.value}
    if endpoints:
        details["endpoints"] = {name: check.json() for name, check in endpoints.items()}
    if status.state is State.FAILED:
        return Check(status="failed", reason=status.last_error or "it could not be started", details=details)
    if status.state is State.UNLOADED and status.obstacle is not None:
        return Check(status="failed", reason=status.obstacle, details=details)
    if status.state in {State.READY, State.BUSY} and not is_reachable:
        return Check(status="failed", reason="its worker does not accept connections", details=details)
    troubled = {name: check.reason for name, check in endpoints.items() if check.status != "ok"}
    if troubled:
        reason = "; ".join(f"{name}: {trouble}" for name, trouble in troubled.items())
        return Check(status="failed" if len(troubled) == len(endpoints) else "degraded", reason=reason, details=details)
    return Check(details=details)


async def _mcp_servers(host: Host) -> Checks:
    if host.toolbox.path is None:  # the servers' room, with the MCP SDK, is not there for nothing
        return {}
    statuses = host.tools.statuses()
    checks = await asyncio.gather(*(_mcp_server(host, status) for status in statuses))
    return {status.name: check for status, check in zip(statuses, checks, strict=True)}


async def _mcp_server(host: Host, status: ServerReport) -> Check:
    details = {"state": status.state.value}
    match status.state:
        case ServerState.READY:
            reason = await _limited(host.tools.check_health(status.name))
            return Check(status="failed" if reason else "ok", reason=reason, details=details)
        case ServerState.DISABLED:
            return Check(details=details)
        case ServerState.CONNECTING | ServerState.RESTARTING:
            return Check(status="degraded", reason=status.last_error or "it is being connected", details=details)
    return Check(status="failed", reason=status.last_error or f"it has {status.state.value}", details=details)


async def _database(host: Host) -> Check:
    details: dict[str, Any] = {"place": str(host.state.database.place)}
    reason = await _limited(_works(host, details))
    return Check(status="failed" if reason else "ok", reason=reason, details=details)


async def _works(host: Host, details: dict[str, Any]) -> None:
    """Check the database; add to ``details`` how much is in it."""
    await host.state.check()
    stored = await host.state.responses.usage()
    details |= {
        "sessions": await host.state.sessions.count(),
        "responses": stored.responses,
        "conversations": stored.conversations,
        "responses_bytes": stored.size_bytes,
    }


async def _limited(check: Awaitable[str | None]) -> str | None:
    """Return what is wrong: what ``check`` returns or raises, or that it takes too long."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check
    except TimeoutError:
        return f"it did not answer within {CHECK_SECONDS:g} s"
    except (DatabaseUnavailable, ToolServerUnavailable) as error:
        return error.message


def disk_check(directory: Path) -> Check:
    """Return the health of the disk of ``directory``, which may not exist yet. For a thread: it reads the disk."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    usage = shutil.disk_usage(there)
    details = {"path": str(there), "free_bytes": usage.free, "total_bytes": usage.total}
    if usage.free >= LOW_DISK_BYTES:
        return Check(details=details)
    reason = f"{usage.free / 1_000_000:,.0f} MB are free on the disk of {there}: make room, or set data_dir"
    return Check(status="failed" if usage.free < FULL_DISK_BYTES else "degraded", reason=reason, details=details)
