"""Runs operations for callers: authorises them, counts and times them, and records them in the audit log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from modelhost.disconnect import ClientDisconnected
from modelhost.errors import HostFault, ModelhostError, ShuttingDown
from modelhost.exchange.caller import Caller, Face
from modelhost.meters import METERS, labelled_counter, labelled_histogram
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.state.records import AuditEntry

if TYPE_CHECKING:
    from modelhost.host import Host

OK: Final = "ok"
CLIENT_LEFT: Final = "client_left"
CANCELLED: Final = "cancelled"
DEFAULT_ACTORS: Final[Mapping[Face, str]] = {
    "http": "anonymous",
    "mcp-http": "anonymous",
    "mcp-stdio": "local",
    "host": "local",
}
"""The actor of a call without a named key: anybody, or whoever could start the program."""


@dataclass(slots=True, kw_only=True)
class OperationCall:
    """One run of an operation, or call of a tool; ``with`` ends it."""

    operation: str
    """Its name; ``read-resource`` for reading an MCP resource."""
    caller: Caller
    kept: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Returns what the audit log records of ``values``: neither contents nor secrets."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The parameters as given, as far as they have been read."""
    model: str | None = None
    """The model, if it is known from the result."""
    known_model: str | None = None
    """The main name of the model at the end: empty if there is no such model, ``None`` before."""
    outcome: str = ""
    """``ok``, or the code of the error; set inside ``with`` if the error is not raised."""
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    """Its duration, at the end."""
    _began: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        self.seconds = time.perf_counter() - self._began
        self.outcome = self.outcome or _outcome_of(error, self.caller.face)

    @property
    def named_model(self) -> str | None:
        name = self.model or self.values.get("model_id", self.values.get("model"))
        return name if isinstance(name, str) else None


class performing:  # noqa: N801 (used like a function made by contextlib, at a third of its cost)
    """Authorise what is inside before it begins; count, time and record it at the end.

    For doors that read parameters inside, or run several operations as one; others use :func:`perform`.

    Raises:
        ModelhostError: the caller is not authorised.
    """

    __slots__ = ("_call", "_host")

    def __init__(self, host: Host, call: OperationCall) -> None:
        self._host = host
        self._call = call

    def __enter__(self) -> None:
        call = self._call
        try:
            self._host.authorise(call.caller, call.operation)
        except BaseException as error:
            self._end(error)
            raise

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        call = self._call
        call.end(error)
        call.known_model = "" if call.named_model is None else self._host.model_label(call.named_model)
        operation, face = call.operation, call.caller.face
        labelled_counter(METERS.operations, operation, face, call.outcome).inc()
        labelled_histogram(METERS.operation_seconds, operation, face).observe(call.seconds)
        if face != "host":  # calls of the program itself are not audited
            self._host.note(_entry(call))


async def perform(
    host: Host,
    operation: Operation[P, R],
    parameters: P,
    caller: Caller,
    on_progress: OnProgress = ignore_progress,
) -> R:
    """Run ``operation`` on ``host`` for ``caller``.

    Raises:
        ModelhostError: the caller is not authorised, or what the operation raises.
    """
    values = parameters.model_dump(mode="json", exclude_unset=True)
    call = OperationCall(operation=operation.name, caller=caller, kept=operation.audited_in, values=values)
    with performing(host, call):
        return await operation.run(host, parameters, on_progress)


def _entry(call: OperationCall) -> AuditEntry:
    caller = call.caller
    return AuditEntry(
        at=call.began_at,
        actor=caller.key_name or DEFAULT_ACTORS[caller.face],
        face=caller.face,
        operation=call.operation,
        arguments=call.kept(call.values),
        outcome=call.outcome,
        duration_ms=round(call.seconds * 1000, 3),
        request_id=caller.request_id,
        model=call.known_model or None,
    )


def _outcome_of(error: BaseException | None, face: Face) -> str:
    if error is None:
        return OK
    if isinstance(error, ModelhostError):
        return error.code
    if isinstance(error, ClientDisconnected):
        return CLIENT_LEFT
    if isinstance(error, Exception):
        return HostFault.code
    # Over HTTP, only a server that shuts down cancels requests.
    return ShuttingDown.code if face == "http" else CANCELLED
