"""When a lost server is started again, and how long requests wait for the first connection of a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

FIRST_SECONDS: Final = 0.1
FACTOR: Final = 2.0
MAX_SECONDS: Final = 30.0
MAX_FAILURES: Final = 5
"""In a row. A process that fails this often fails for a reason that another start does not fix."""
REMOTE_MAX_FAILURES: Final = 9
"""In a row, of a remote server: some 25 seconds, enough for it to be restarted where it runs."""
STABLE_SECONDS: Final = 30.0
"""A server that was ready this long is not in a crash loop."""
REMOTE_RETRY_SECONDS: Final = 60.0
"""After the last failure in a row of a remote server: it may come back by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What follows a failure. ``after_seconds`` is ``None`` if someone has to restart the server."""

    failures: int
    after_seconds: float | None
    has_failed: bool


def after_failure(failures: int, ready_seconds: float, *, is_remote: bool, is_hopeless: bool = False) -> Retry:
    """Decide what follows a failure, after ``failures`` in a row and ``ready_seconds`` in which the server was ready.

    ``is_hopeless``: restarting cannot help, since the program does not exist or a setting is wrong.
    """
    count = 1 if ready_seconds >= STABLE_SECONDS else failures + 1
    if is_hopeless:
        return Retry(failures=count, after_seconds=None, has_failed=True)
    if count >= (REMOTE_MAX_FAILURES if is_remote else MAX_FAILURES):
        return Retry(failures=count, after_seconds=REMOTE_RETRY_SECONDS if is_remote else None, has_failed=True)
    seconds = min(FIRST_SECONDS * FACTOR ** (count - 1), MAX_SECONDS)
    return Retry(failures=count, after_seconds=seconds, has_failed=False)


LONGEST_WAIT_SECONDS: Final = 15.0
"""For all requests together: clients give up not much later, and an answer without a tool is better than none."""


class StartupWait:
    """How long requests wait for the first attempt to connect a server. The time begins with the first request."""

    def __init__(self, attempt_seconds: float) -> None:
        """The attempt begins now and takes ``attempt_seconds`` at most."""
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + attempt_seconds
        self._has_begun = False

    def ends_at(self) -> float:
        """Return until when requests wait, on the loop's clock; the first call starts the time."""
        if not self._has_begun:
            self._has_begun = True
            self._ends_at = min(self._ends_at, self._loop.time() + LONGEST_WAIT_SECONDS)
        return self._ends_at

    def seconds_left(self) -> float:
        """Return the time that is left; 0 when it is over."""
        return max(0.0, self.ends_at() - self._loop.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingServers:
    """The servers that a request waits for."""

    servers: tuple[str, ...]
    seconds: float
    """At most."""
