"""Signatures of thinking blocks: a block comes back as this host wrote it, or is refused.

A client sends the thinking of earlier answers back. With its signature, the host knows that the model wrote it: nobody
can put words into the mind of the model, and a block that was cut or edited does not enter a conversation unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Final

from modelhost.persistence.stored_key import StoredKey

KEY_FILE: Final = "thinking.key"
VERSION: Final = "mh1"
"""The beginning of a signature, so that keys or algorithms can change."""


class Signatures:
    """Signs and verifies thinking blocks, with a key in the data directory that is made when it is first needed.

    Hosts with the same directory accept each other's blocks. If the key cannot be stored, it lasts as long as the host.
    """

    def __init__(self, data_dir: Path) -> None:
        self._key = StoredKey(data_dir / KEY_FILE)

    def sign(self, thinking: str) -> str:
        """Return the signature of a block."""
        digest = hmac.digest(self._key.read(), thinking.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{VERSION}.{base64.urlsafe_b64encode(digest).decode()}"

    def verify(self, thinking: str, signature: str) -> bool:
        """Whether ``signature`` is that of a block with this text."""
        return hmac.compare_digest(self.sign(thinking).encode(), signature.encode("utf-8", "surrogatepass"))
