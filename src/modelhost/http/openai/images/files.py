"""Images on disk that answers name by URL: signed, for a while, within a budget."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from modelhost.errors import DiskFull, NotFound
from modelhost.http.openai.images.paths import FILES
from modelhost.models.files.durable import write_atomically
from modelhost.persistence.stored_key import StoredKey

FOLDER: Final = "images"
KEY_FILE: Final = "images.key"
SECONDS: Final = 3600
"""How long an image is kept, as at OpenAI."""
NAME: Final = re.compile(r"[A-Za-z0-9_-]{22}\.(png|jpeg|webp)")
NAME_BYTES: Final = 16


class ImageFiles:
    """The images below ``data_dir``, of ``budget_bytes`` together at most. Everything here blocks."""

    def __init__(self, data_dir: Path, budget_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = data_dir / FOLDER
        self._budget_bytes = budget_bytes
        self._clock = clock
        self._key = StoredKey(data_dir / KEY_FILE)

    def add(self, images: Sequence[bytes], form: str) -> list[str]:
        """Store ``images``, of the format ``form``, and return a signed path of each; the oldest ones make room.

        Raises:
            DiskFull: together they are larger than the budget, or they do not fit on the disk.
        """
        size = sum(map(len, images))
        if size > self._budget_bytes:
            raise _beyond_budget(size, self._budget_bytes)
        self._make_room(self._budget_bytes - size)
        return [self._stored(image, form) for image in images]

    def _stored(self, image: bytes, form: str) -> str:
        name = f"{secrets.token_urlsafe(NAME_BYTES)}.{form}"
        write_atomically(self._folder / name, image)
        expires = str(int(self._clock()) + SECONDS)
        return f"{FILES}/{name}?expires={expires}&signature={self._signature(name, expires)}"

    def read(self, name: str, expires: str, signature: str) -> tuple[bytes, str]:
        """Return the image called ``name`` and its media type.

        Raises:
            NotFound: there is none, the URL has expired, or this host did not sign it.
        """
        found = NAME.fullmatch(name)
        is_signed = hmac.compare_digest(self._signature(name, expires).encode(), signature.encode())
        if found is None or not is_signed or int(expires) <= self._clock():
            raise _not_found()
        try:
            return (self._folder / name).read_bytes(), f"image/{found[1]}"
        except FileNotFoundError:
            raise _not_found() from None

    def _make_room(self, budget_bytes: int) -> None:
        """Delete what has expired, and the oldest images until the rest fits into ``budget_bytes``."""
        if not self._folder.is_dir():
            return
        found: list[tuple[float, int, Path]] = []
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another host of this directory may delete it
                stat = file.stat()
                found.append((stat.st_mtime, stat.st_size, file))
        kept = 0
        for stored_at, size, file in sorted(found, reverse=True):
            kept += size
            if kept > budget_bytes or stored_at + SECONDS <= self._clock():
                file.unlink(missing_ok=True)

    def _signature(self, name: str, expires: str) -> str:
        return hmac.digest(self._key.read(), f"{name} {expires}".encode(), hashlib.sha256).hex()


def _beyond_budget(needed_bytes: int, budget_bytes: int) -> DiskFull:
    return DiskFull(
        f"The images of this answer take {needed_bytes / 1e6:,.2f} MB, and the host keeps {budget_bytes / 1e6:,.2f} MB "
        'at most. Ask for fewer or smaller ones or for "b64_json", or raise --image-files-mb.',
        needed_bytes=needed_bytes,
        budget_bytes=budget_bytes,
    )


def _not_found() -> NotFound:
    return NotFound("There is no such image: its URL has expired, or is not as the host wrote it.")
