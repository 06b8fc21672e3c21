"""Starts the client when its turn has come: the suite starts all of its scenarios at once, more than a small machine
can serve in time. Nothing heavy is imported before that.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path

CLIENT = "tests.conformance.client"


def main() -> None:
    cores = os.cpu_count() or 1
    place = os.open(
        Path(tempfile.gettempdir()) / f"modelhost-conformance-{os.getpid() % cores}", os.O_CREAT | os.O_RDWR
    )
    fcntl.flock(place, fcntl.LOCK_EX)
    os.set_inheritable(place, True)  # held until the client has ended
    os.execv(sys.executable, [sys.executable, "-m", CLIENT, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
