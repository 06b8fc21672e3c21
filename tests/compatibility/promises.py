"""The promises of each document, and how the host keeps them.

``documents/`` has one TOML file for each document. The id of a promise is the name of its file and that of its table:
``[promises."sessions.fifo"]`` in ``vllm-mcp.toml`` is ``vllm-mcp.sessions.fifo``. Tests that prove a promise carry the
marker ``promise`` with its id (:mod:`tests.compatibility.markers`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "documents"


class Status(StrEnum):
    """How the host keeps a promise."""

    WORKS = "works"
    DIFFERS = "differs"
    MISSING = "missing"
    NOT_APPLICABLE = "not applicable"


PROVEN: Final = frozenset({Status.WORKS, Status.DIFFERS})
"""What a test has to prove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One promise. ``note`` says why and what instead, or which later part of the host brings it."""

    key: str
    section: str
    promise: str
    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document, with its promises in the order of its text."""

    title: str
    about: str
    promises: tuple[Promise, ...]


def documents() -> tuple[Document, ...]:
    """Return all documents in the order of their files' names.

    Raises:
        TypeError: a promise lacks a field, or has one that is unknown.
        ValueError: a file is no TOML, names a promise twice or has an unknown status.
    """
    return tuple(_document(path) for path in sorted(FOLDER.glob("*.toml")))


def _document(path: Path) -> Document:
    content = tomllib.loads(path.read_text("utf-8"))
    promises = content.pop("promises")
    return Document(**content, promises=tuple(_promise(f"{path.stem}.{key}", each) for key, each in promises.items()))


def _promise(key: str, fields: dict[str, Any]) -> Promise:
    return Promise(key=key, **{**fields, "status": Status(fields["status"])})
