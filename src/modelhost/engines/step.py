"""Runs one step of an installation, and ends it with the process that wants it: ``python -m modelhost.engines.step``.

pip starts CMake, CMake starts Ninja, and Ninja starts each compiler in a process group of its own. They outlive a pip
that is killed, and would go on in a folder that somebody else builds in. All are in the session that this process
leads, however: at the end of its standard input, which the other process holds open, it kills them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import psutil

STDIN = 0
BLOCK_BYTES = 4096
NOT_STARTED = 127
"""The status of a shell for a program that it cannot start."""
SIGNALLED = 128
"""The status of a shell for a program that a signal has ended, less the signal."""


def main() -> None:
    """Run the command in the arguments, and exit with its status; its output is that of this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603 (of the installation)
    except OSError as error:
        print(error, flush=True)  # noqa: T201 (the last line of output is the reason)
        sys.exit(NOT_STARTED)
    threading.Thread(target=_end_session_at_end_of_input, name="lifeline", daemon=True).start()
    status = process.wait()
    # The interpreter's own exit would wait for the thread, which reads standard input.
    os._exit(status if status >= 0 else SIGNALLED - status)


def _end_session_at_end_of_input() -> None:
    while os.read(STDIN, BLOCK_BYTES):
        pass
    killed = {os.getpid()}
    while others := _session() - killed:
        for pid in others:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= others
    os._exit(1)


def _session() -> set[int]:
    return {pid for pid in psutil.pids() if _session_of(pid) == os.getpid()}


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:  # it has ended since, or may not be queried
        return None


if __name__ == "__main__":
    main()
