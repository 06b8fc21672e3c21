"""Signatures of thinking blocks: a block comes back as this host wrote it, or is refused.

A client sends the thinking of earlier answers back. With its signature, the host knows that the model wrote it: nobody
can put words into the mind of the model, and a block that was cut or edited does not enter a conversation unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from modelhost.logs import get_logger

log = get_logger(__name__)

KEY_FILE: Final = "thinking.key"
KEY_BYTES: Final = 32
VERSION: Final = "mh1"
"""The beginning of a signature, so that keys or algorithms can change."""


class Signatures:
    """Signs and verifies thinking blocks, with a key in the data directory that is made when it is first needed.

    Hosts with the same directory accept each other's blocks. If the key cannot be stored, it lasts as long as the host.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / KEY_FILE
        self._key: bytes | None = None

    def sign(self, thinking: str) -> str:
        """Return the signature of a block."""
        digest = hmac.digest(self._read(), thinking.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{VERSION}.{base64.urlsafe_b64encode(digest).decode()}"

    def verify(self, thinking: str, signature: str) -> bool:
        """Whether ``signature`` is that of a block with this text."""
        return hmac.compare_digest(self.sign(thinking).encode(), signature.encode("utf-8", "surrogatepass"))

    def _read(self) -> bytes:
        if self._key is None:
            try:
                self._key = self._stored() or self._made()
            except OSError as error:
                log.warning("thinking_key_not_stored", path=str(self._path), reason=str(error))
                self._key = secrets.token_bytes(KEY_BYTES)
        return self._key

    def _stored(self) -> bytes | None:
        with suppress(FileNotFoundError):
            key = self._path.read_bytes()
            return key if len(key) == KEY_BYTES else None
        return None

    def _made(self) -> bytes:
        """Store a new key; of several hosts that do so at once, one wins."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        written = self._path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
            with suppress(FileExistsError):
                os.link(written, self._path)
        finally:
            written.unlink()
        if (key := self._stored()) is None:
            raise OSError(f"{self._path} is no key of {KEY_BYTES} bytes; delete it, and the host makes another")
        return key
