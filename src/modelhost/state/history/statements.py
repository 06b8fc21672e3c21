"""Statements in plain SQL that SQLite and PostgreSQL both take: for the history of metrics and of alerts.

Every host writes these. With plain statements, one that uses SQLite for nothing else does without SQLAlchemy (15 MB).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Statements(Protocol):
    """Executes statements within one transaction. Their parameters are named, as in ``WHERE step = :step``."""

    @property
    def is_postgresql(self) -> bool:
        """Whether the database has a type for times. SQLite keeps them as texts, in UTC and without a zone."""

    def query(self, statement: str, /, **values: Any) -> Sequence[Sequence[Any]]:
        """Return the rows that ``statement`` finds."""

    def change(self, statement: str, rows: Sequence[Mapping[str, Any]], /) -> None:
        """Execute ``statement`` with the values of each of ``rows``, of which there is at least one."""

    def apart(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, which computes for a while, without holding an event loop."""
