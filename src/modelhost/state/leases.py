"""Leases of sessions: one process at a time holds a session, and leases of ended processes are taken over."""

from __future__ import annotations

import asyncio
import os
import platform
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from modelhost.background import cancel_and_wait, log_failures
from modelhost.errors import DatabaseUnavailable, SessionBusy
from modelhost.logs import get_logger
from modelhost.state.lazy_database import LazyDatabase
from modelhost.state.stored_session import StoredSession

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES: Final = Path("/proc/self/ns/pid")
_CLOCK_TOLERANCE_SECONDS: Final = 2.0
"""By how much the start time of a process may differ between two readings: setting the clock changes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that may hold sessions. ``nonce`` distinguishes several databases opened by one process.

    With the same ``machine`` the same ``pid`` is the same process: it identifies the boot and, on Linux, the pid
    namespace, which differs between containers.
    """

    name: str
    machine: str
    pid: int
    started: float
    nonce: str


def this_process() -> Holder:
    """Return a new holder for this process."""
    name = platform.node()
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    processes = str(_PROCESSES.readlink()) if _PROCESSES.is_symlink() else ""
    return Holder(
        name=name,
        machine=f"{name}/{boot}/{processes}",
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        nonce=uuid.uuid4().hex,
    )


def is_gone(other: Holder, here: Holder) -> bool:
    """Whether ``other`` was a process on the machine of ``here`` that has ended; unknown for other machines."""
    if other.machine != here.machine:
        return False
    try:
        process = psutil.Process(other.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - other.started) > _CLOCK_TOLERANCE_SECONDS
    except psutil.NoSuchProcess:
        return True


LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = LEASE_SECONDS / 3
FIRST_PAUSE_SECONDS: Final = 0.01
LONGEST_PAUSE_SECONDS: Final = 0.25
"""Between two attempts to get a session that another process holds."""

_log = get_logger(__name__)


class Renewal:
    """Renews the leases of all that is ``held`` with ``renew``, as long as there is anything.

    ``task`` names that work in the log.
    """

    def __init__(self, held: Collection[str], renew: Callable[[Sequence[str]], Awaitable[None]], *, task: str) -> None:
        self._held = held
        self._renew = renew
        self._task = task
        self._running: asyncio.Task[None] | None = None

    def keep_running(self, *, every_seconds: float) -> None:
        """Renew from now on; to be called when something is held."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(every_seconds))

    async def close(self) -> None:
        await cancel_and_wait(self._running)

    async def _run(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            if not self._held:
                return
            with log_failures(self._task):
                await self._renew_now(sorted(self._held))

    async def _renew_now(self, held: Sequence[str]) -> None:
        try:
            await self._renew(held)
        except DatabaseUnavailable as error:
            _log.warning("leases_not_renewed", reason=error.message)


class Leases:
    """The leases of this process. Only one of its tasks at a time may lease a session."""

    def __init__(self, database: LazyDatabase, *, wait_seconds: float) -> None:
        self._database = database
        self._wait_seconds = wait_seconds
        self._held: set[str] = set()
        self._renewal = Renewal(self._held, self._renew, task="renewing session leases")
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self.holder: Final = this_process()

    @asynccontextmanager
    async def lease(self, session_id: str) -> AsyncIterator[StoredSession | None]:
        """Hold the lease of a session; yields the stored session, read together with the lease.

        Raises:
            SessionBusy: another process holds it for longer than allowed.
            DatabaseUnavailable: the database cannot be used.
        """
        try:
            yield await self._acquire(session_id)
        finally:
            if session_id in self._held:
                await self._release(session_id)

    async def close(self) -> None:
        """Wait for releases in progress, and stop renewing."""
        await asyncio.gather(*self._releasing.values())
        await self._renewal.close()

    async def _acquire(self, session_id: str) -> StoredSession | None:
        if (releasing := self._releasing.get(session_id)) is not None:
            # A cancelled task is still releasing the session; it must not delete our lease.
            await asyncio.wait([releasing])
        deadline = time.monotonic() + self._wait_seconds
        pause, gone = FIRST_PAUSE_SECONDS, None
        while True:
            # Released also if this is cancelled: we may have it by then.
            self._held.add(session_id)
            try:
                other, stored = await self._database.write(partial(self._try, session_id, gone), durable=False)
            except DatabaseUnavailable:
                self._held.discard(session_id)
                raise
            if other is None:
                self._renewal.keep_running(every_seconds=RENEW_SECONDS)
                return stored
            self._held.discard(session_id)
            if other.nonce != gone and is_gone(other, self.holder):
                _log.debug("session_taken_over", session=session_id, pid=other.pid, reason="its process is gone")
                gone = other.nonce
                continue
            if time.monotonic() + pause > deadline:
                raise SessionBusy(
                    f'The session "{session_id}" has been in use by process {other.pid} on {other.name} for longer '
                    f"than {self._wait_seconds:g} s. Try again later, or serve with a larger --session-timeout.",
                    session_id=session_id,
                )
            _log.debug("session_waits", session=session_id, pid=other.pid, holder=other.name, seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _try(self, session_id: str, gone: str | None, rows: Rows) -> tuple[Holder | None, StoredSession | None]:
        """Acquire the lease and read the session, or return the holder."""
        other = rows.leases.acquire(session_id, self.holder, LEASE_SECONDS, instead_of=gone)
        return other, (rows.sessions.stored(session_id) if other is None else None)

    async def _release(self, session_id: str) -> None:
        """Release it, even if the task that held it is cancelled meanwhile."""
        self._held.discard(session_id)
        task = asyncio.create_task(self._give_back(session_id))
        self._releasing[session_id] = task
        task.add_done_callback(lambda _: self._releasing.pop(session_id))
        await asyncio.shield(task)

    async def _give_back(self, session_id: str) -> None:
        # A lease that cannot be released expires.
        with suppress(DatabaseUnavailable):
            await self._database.write(lambda rows: rows.leases.release(session_id, self.holder), durable=False)

    async def _renew(self, held: Sequence[str]) -> None:
        await self._database.write(lambda rows: rows.leases.renew(held, self.holder, LEASE_SECONDS), durable=False)
