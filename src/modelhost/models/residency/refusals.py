"""The errors of requests that are refused: where they stood in the queue, and what to do about it."""

from __future__ import annotations

import math

from modelhost import errors
from modelhost.models.files.memory_pools import MODELS, RAM, Bytes
from modelhost.models.residency.planner import Plan
from modelhost.models.residency.record import ModelRecord, Phase, Rollback, Ticket
from modelhost.plurals import counted

MB = 1_000_000
OF_CAUSE = ("engine", "out_of_memory", "required_mb", "available_mb", "suggestion")
"""Details of a load error that are passed on: where it happened, and what to do about it."""
LASTING = (
    errors.ModelFileInvalid,
    errors.ModelFileMissing,
    errors.ConfigError,
    errors.EngineMissing,
    errors.SystemLibraryMissing,
)
"""Load errors that stay until somebody changes what the message names."""


def queue_full(record: ModelRecord) -> errors.QueueFull:
    waiting = len(record.queue)
    return errors.QueueFull(
        f"{counted(waiting, 'request')} {'waits' if waiting == 1 else 'wait'} for {record.name} already "
        f"({record.state}). Try again, or raise --queue-size.",
        retry_after_seconds=1,
        model=record.name,
        queue_length=waiting,
        state=record.state.value,
    )


def timed_out(record: ModelRecord, ticket: Ticket, position: int) -> errors.QueueTimeout:
    doing = "being downloaded" if record.phase is Phase.FETCHING else record.state.value
    return errors.QueueTimeout(
        f"The request was number {position} of {len(record.queue)} waiting for {record.name} ({doing}) when "
        f"the {record.policy.wait_seconds:g} s that a request may wait were over. "
        "Try again, or raise --request-timeout.",
        model=record.name,
        state=record.state.value,
        position=position,
        position_at_first=ticket.position,
        queue_length=len(record.queue),
    )


def failed(record: ModelRecord, now: float) -> errors.ModelFailed:
    """With the code of what went wrong as ``cause``, and what of its details says how much is missing."""
    error = record.last_error
    reason = error.message if error else "The reason is unknown."
    of_cause = {name: value for name in OF_CAUSE if error and (value := error.details.get(name))}
    if isinstance(error, LASTING):
        later = ", and a request loads it once this is mended:"
    elif record.is_wanted:
        later = " and is tried again later."
    else:
        later = ", and a later request tries again."
    return errors.ModelFailed(
        f"{record.name} could not be started{later} {reason}",
        retry_after_seconds=max(1, math.ceil(record.retry_at - now)),
        model=record.name,
        **of_cause,
        **({"cause": error.code} if error else {}),
    )


def unloaded(record: ModelRecord) -> errors.ModelUnloaded:
    return errors.ModelUnloaded(
        f"{record.name} was unloaded by force. Ask again to have it loaded again.", model=record.name
    )


def removed(model: str) -> errors.ModelNotFound:
    return errors.ModelNotFound(f"{model} was taken out of the registry.", param="model", model=model)


def entry_changed(model: str) -> errors.ModelUnloaded:
    return errors.ModelUnloaded(f"The entry of {model} in the registry has changed meanwhile. Ask again.", model=model)


def superseded(model: str) -> errors.ModelUnloaded:
    return errors.ModelUnloaded(
        f"{model} is being loaded with another configuration, which was requested in the meantime.", model=model
    )


def rolled_back(record: ModelRecord, rollback: Rollback, error: errors.ModelhostError) -> errors.ModelhostError:
    """Return ``error``, with which a model could not be loaded with another configuration, and what it has now."""
    now = "is loaded with it again" if rollback.will_restart else "is loaded with it when it is wanted"
    error.message = f"{error.message} {record.name} has its earlier configuration back, and {now}."
    error.args = (error.message,)
    return error


def insufficient(record: ModelRecord, plan: Plan, need: Bytes, held: dict[str, Bytes]) -> errors.InsufficientMemory:
    """``held`` is what each of the plan's holders takes."""
    short = ", ".join(_amount(pool, count) for pool, count in plan.missing.items())
    if plan.holders:
        why = f"pinned models hold it: {', '.join(_holder(name, held[name]) for name in plan.holders)}"
        way_out = "Unpin or remove one of them, or raise"
    else:
        why = "the budget is smaller than the model"
        way_out = "Give it a smaller context, or raise" if record.has_context else "Serve a smaller model, or raise"
    limit = " and ".join(dict.fromkeys(_limit(pool) for pool in plan.missing))
    need_mb = {pool: math.ceil(count / MB) for pool, count in need.items() if pool != MODELS}
    missing_mb = {pool: math.ceil(count / MB) for pool, count in plan.missing.items() if pool != MODELS}
    required_mb = sum(need_mb.values())
    return errors.InsufficientMemory(
        f"{record.name} does not fit: {short} missing, {why}. {way_out} {limit}.",
        retry_after_seconds=60,
        model=record.name,
        required_mb=required_mb,
        available_mb=max(0, required_mb - sum(missing_mb.values())),
        suggestion=f"{way_out} {limit}.",
        missing_mb=missing_mb,
        need_mb=need_mb,
        holders={name: {pool: round(count / MB) for pool, count in held[name].items()} for name in plan.holders},
    )


def shutting_down() -> errors.ShuttingDown:
    return errors.ShuttingDown("The host is being stopped.")


def _limit(pool: str) -> str:
    return {MODELS: "--max-models", RAM: "--memory-budget"}.get(pool, "--gpu-memory-budget")


def _amount(pool: str, count: int) -> str:
    return "one place for a model" if pool == MODELS else f"{math.ceil(count / MB):,} MB of {pool}"


def _holder(name: str, charge: Bytes) -> str:
    amounts = ", ".join(f"{round(count / MB):,} MB of {pool}" for pool, count in charge.items())
    return f"{name} ({amounts})" if amounts else name
