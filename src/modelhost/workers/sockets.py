"""Where workers listen: Unix sockets in a folder that only this user can enter.

Connecting to one costs less than to a port on loopback, and nobody else on the machine can.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from modelhost.workers.private_folder import private_folder

LONGEST_PATH = 100  # bytes; sun_path holds 108 on Linux and 104 on macOS


def new_socket_path() -> Path | None:
    """Return a path on which a worker can listen; ``None`` without a folder for it, or if that has too long a name."""
    folder = private_folder()
    if folder is None:
        return None
    path = folder / f"{secrets.token_hex(4)}.sock"
    return path if len(os.fsencode(path)) <= LONGEST_PATH else None


def remove_socket(path: str) -> None:
    """Remove the socket of a worker that has ended; it may be gone already."""
    Path(path).unlink(missing_ok=True)
