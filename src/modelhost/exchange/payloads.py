"""The bodies of requests to workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from modelhost.exchange.nothing import NOTHING


class File(Struct, frozen=True, kw_only=True):
    """A file of a form."""

    name: str
    content_type: str
    data: bytes


class Form(Struct, frozen=True, kw_only=True):
    """The body of a request whose kind is ``multipart``."""

    fields: Mapping[str, str] = NOTHING
    files: Mapping[str, File] = NOTHING
    """By the names of their fields."""


class Raw(Struct, frozen=True, kw_only=True):
    """The body of a request whose kind is ``bytes``."""

    content_type: str
    data: bytes


Payload = Mapping[str, Any] | Form | Raw
