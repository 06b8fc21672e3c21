"""Transcripts and images as a client of a host gets them, and the form that asks for a transcript."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A whole image."""

    data: bytes
    seed: int
    """Makes the same image again."""


def progress_of(index: int, step: int, steps: int, body: Mapping[str, Any]) -> Progress:
    """Return the progress of the images that ``body`` asks for, after ``step`` of the ``steps`` of one of them."""
    count = body.get("n") or 1
    named = f" of image {index + 1}" if count > 1 else ""
    return Progress(fraction=min(1.0, (index + step / max(1, steps)) / count), message=f"step {step}/{steps}{named}")
