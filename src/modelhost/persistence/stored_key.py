"""A secret key in the data directory, for what this host has signed."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from modelhost.config.directories import make_private
from modelhost.logs import get_logger

log = get_logger(__name__)

KEY_BYTES: Final = 32


class StoredKey:
    """A key in a file that is made when it is first needed; hosts with the same directory have the same key.

    If it cannot be stored, which the log reports, it lasts as long as the host.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: bytes | None = None

    def read(self) -> bytes:
        """Return the key."""
        if self._key is None:
            try:
                self._key = self._stored() or self._made()
            except OSError as error:
                log.warning("key_not_stored", path=str(self._path), reason=str(error))
                self._key = secrets.token_bytes(KEY_BYTES)
        return self._key

    def _stored(self) -> bytes | None:
        with suppress(FileNotFoundError):
            key = self._path.read_bytes()
            return key if len(key) == KEY_BYTES else None
        return None

    def _made(self) -> bytes:
        """Store a new key; of several hosts that do so at once, one wins."""
        make_private(self._path.parent)
        written = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(written, self._path)
        finally:
            written.unlink()
        if (key := self._stored()) is None:
            raise OSError(f"{self._path} is no key of {KEY_BYTES} bytes; delete it, and the host makes another")
        return key
