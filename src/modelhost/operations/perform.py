"""The one way to have an operation done: whoever asks by whatever face is let in, measured and noted here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from modelhost.disconnect import ClientDisconnected
from modelhost.errors import HostFault, ModelhostError, ModelNotFound, ShuttingDown
from modelhost.exchange.caller import Caller, Face
from modelhost.meters import METERS, counting, timing
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.state.records import AuditEntry

if TYPE_CHECKING:
    from modelhost.host import Host

OK: Final = "ok"
CLIENT_LEFT: Final = "client_left"
CANCELLED: Final = "cancelled"
NAMELESS: Final[Mapping[Face, str]] = MappingProxyType(
    {"http": "anonymous", "mcp-http": "anonymous", "mcp-stdio": "local", "host": "local"}
)
"""Who came by a face without the name of a key: anybody, or whoever could start the program."""


@dataclass(slots=True, kw_only=True)
class Performance:
    """One operation, or call of a tool, that is being done for somebody; ``with`` ends it."""

    operation: str
    """The name of it; of a reading of an MCP resource ``read-resource``."""
    caller: Caller
    kept: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Returns what of ``values`` the audit log may keep: neither contents nor secrets."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The parameters, as they came, as far as they have been read."""
    model: str | None = None
    """The model that it turned out to be about."""
    known_model: str | None = None
    """The main name of that model, once it is over: empty if there is none of the name, ``None`` if nobody looked."""
    outcome: str = ""
    """``ok``, or the code of the error; set inside where that is told otherwise than by raising it."""
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    """How long it took, once it is over."""
    _began: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        """Note that it is over, and how."""
        self.seconds = time.perf_counter() - self._began
        self.outcome = self.outcome or _outcome_of(error, self.caller.face)

    @property
    def named_model(self) -> str | None:
        """The model as it is named in the result or in the parameters, if it is."""
        name = self.model or self.values.get("model_id", self.values.get("model"))
        return name if isinstance(name, str) else None


class performing:  # noqa: N801 (said with `with`, as a function that contextlib makes would be, at a third of its cost)
    """Have done what is inside: admitted before it begins, and counted and noted however it ends.

    For faces that read parameters as a part of it, or do several operations as one; others :func:`perform`.

    Raises:
        ModelhostError: the caller may not have it done.
    """

    __slots__ = ("_host", "_performance")

    def __init__(self, host: Host, performance: Performance) -> None:
        self._host = host
        self._performance = performance

    def __enter__(self) -> None:
        performance = self._performance
        try:
            self._host.authorise(performance.caller, performance.operation)
        except BaseException as error:
            self._end(error)
            raise

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        performance = self._performance
        performance.end(error)
        performance.known_model = _main_name(self._host, performance.named_model)
        operation, face = performance.operation, performance.caller.face
        counting(METERS.operations, operation, face, performance.outcome).inc()
        timing(METERS.operation_seconds, operation, face).observe(performance.seconds)
        if face != "host":  # the log is for what came from outside; a program knows what it does itself
            self._host.note(_entry(performance))


async def perform(
    host: Host,
    operation: Operation[P, R],
    parameters: P,
    caller: Caller,
    on_progress: OnProgress = ignore_progress,
) -> R:
    """Have ``host``, which has what ``operation`` needs, do it for ``caller``.

    Raises:
        ModelhostError: the caller may not have it done, or what the operation raises.
    """
    values = parameters.model_dump(mode="json", exclude_unset=True)
    performance = Performance(operation=operation.name, caller=caller, kept=operation.audited_in, values=values)
    with performing(host, performance):
        return await operation.run(host, parameters, on_progress)


def _main_name(host: Host, model: str | None) -> str:
    """Return the main name of a known model, or nothing: names that callers invent must not become labels."""
    if model is None:
        return ""
    try:
        return host.find(model).name
    except ModelNotFound:
        return ""


def _entry(performance: Performance) -> AuditEntry:
    caller = performance.caller
    return AuditEntry(
        at=performance.began_at,
        actor=caller.key_name or NAMELESS[caller.face],
        face=caller.face,
        operation=performance.operation,
        arguments=performance.kept(performance.values),
        outcome=performance.outcome,
        duration_ms=round(performance.seconds * 1000, 3),
        request_id=caller.request_id,
        model=performance.known_model or None,
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
    # Over HTTP nobody cancels but the server that ends: its clients are told so.
    return ShuttingDown.code if face == "http" else CANCELLED
