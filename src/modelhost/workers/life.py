"""What stands behind a worker: a process here, or servers elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from modelhost.engines.launch import Ready


class Life(Protocol):
    """It begins before anyone sees it, and ends once."""

    @property
    def ready(self) -> Ready:
        """What it says of itself."""
        ...

    @property
    def name(self) -> str:
        """A name for logs and errors."""
        ...

    @property
    def pid(self) -> int | None:
        """The id of the process, if it is one here."""
        ...

    @property
    def is_running(self) -> bool: ...

    async def is_reachable(self) -> bool:
        """Whether requests can get to it, as far as that can be learned without one."""
        ...

    async def memory(self) -> Mapping[str, int]:
        """Return what it takes of this machine now, by pool; empty once it has ended."""
        ...

    def stderr_lines(self) -> list[str]:
        """Return all lines of its log that are kept."""
        ...

    def stderr_tail(self) -> list[str]:
        """Return the last of them: those for an error message."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        ...

    def describe_exit(self) -> str:
        """Say how it ended, as the rest of a sentence about a worker."""
        ...

    async def stop(self) -> None:
        """End it, and return when nothing is left of it."""
        ...

    async def kill(self) -> None:
        """The same at once."""
        ...
