"""Sealed texts: what a client keeps for the hosts of one database, and can neither read nor change."""

from __future__ import annotations

import asyncio
import base64
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from modelhost.errors import InvalidEncryptedContent
from modelhost.state.lazy_database import LazyDatabase

if TYPE_CHECKING:
    from modelhost.state.sql.rows import Rows

KEY_NAME: Final = "sealing"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""The size for which AES-GCM is specified; random ones may be used 2^32 times with one key (NIST SP 800-38D, 8.3)."""
VERSION: Final = "mhs1."
"""The beginning of a sealed text, so that keys or algorithms can change. It is authenticated as well."""


class Seal:
    """Seals texts with one key (AES-256 in Galois/Counter Mode), and opens them."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, text: str, purpose: str = "") -> str:
        """Return ``text`` in a form that only :meth:`open` reads, with the same key and purpose; printable ASCII."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), f"{VERSION}{purpose}".encode())
        return VERSION + base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, sealed: str, purpose: str = "") -> str:
        """Return what was sealed.

        Raises:
            InvalidEncryptedContent: another key sealed it, or for another purpose, or it was changed or cut.
        """
        version, _, content = sealed.partition(".")
        try:
            decoded = base64.b64decode(content.encode("ascii"), b"-_", validate=True)
            text = self._cipher.decrypt(decoded[:NONCE_BYTES], decoded[NONCE_BYTES:], f"{version}.{purpose}".encode())
        except (ValueError, InvalidTag):
            raise InvalidEncryptedContent(
                "encrypted_content: this cannot be opened. It was changed, is of an item of another type, or comes "
                "from a host with another database. Send it as you received it, or leave the item out.",
                param="input",
            ) from None
        return text.decode("utf-8", "surrogatepass")


class SealStore:
    """The seal of all hosts of a database: its key is made once, by whichever host needs it first."""

    def __init__(self, database: LazyDatabase) -> None:
        self._database = database
        self._seal: Seal | None = None
        self._reading = asyncio.Lock()

    async def get(self) -> Seal:
        """Return the seal; raises DatabaseUnavailable if the database cannot be used."""
        async with self._reading:
            if self._seal is None:
                self._seal = Seal(await self._key())
            return self._seal

    async def _key(self) -> bytes:
        stored = await self._database.read(lambda rows: rows.keys.get(KEY_NAME))
        if stored is not None:
            return stored

        def make(rows: Rows) -> bytes:
            return rows.keys.make(KEY_NAME, secrets.token_bytes(KEY_BYTES))

        return await self._database.write(make)
