"""A transcript as a client of a host gets it, and the form that asks for one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelhost.client.connections import Content
from modelhost.operations.operation import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A whole transcript."""

    text: str
    language: str | None
    """A code; ``None``: there was nothing to hear, and the host does not say."""
    seconds: float
    """The length of the sound."""
    segments: tuple[Mapping[str, Any], ...]
    """Each with ``start`` and ``end`` in seconds, and ``text``."""


def progress_at(end: float, seconds: float) -> Progress:
    """Return the progress once a sound of ``seconds`` is transcribed up to ``end``."""
    return Progress(fraction=min(1.0, end / seconds) if seconds else 1.0, message="")


def form_of(file: bytes, fields: Mapping[str, str]) -> Content:
    """Return a form (``multipart/form-data``) with ``fields`` and the field ``file``."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="sound"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    data = "".join([*parts, head]).encode() + file + f"\r\n--{boundary}--\r\n".encode()
    return Content(content_type=f"multipart/form-data; boundary={boundary}", data=data)
