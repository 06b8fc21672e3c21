"""Statements in plain SQL on a connection of SQLAlchemy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from modelhost.state.sql.tables import is_postgresql

T = TypeVar("T")


class ConnectionStatements:
    """:class:`modelhost.state.history.statements.Statements`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def is_postgresql(self) -> bool:
        return is_postgresql(self._connection)

    def query(self, statement: str, /, **values: Any) -> Sequence[Sequence[Any]]:
        return self._connection.execute(text(statement), values).all()

    def change(self, statement: str, rows: Sequence[Mapping[str, Any]], /) -> None:
        self._connection.execute(text(statement), [dict(row) for row in rows])

    def apart(self, work: Callable[[], T]) -> T:
        if not self._connection.dialect.is_async:
            return work()  # the transaction has a thread of its own
        result: T = await_only(asyncio.to_thread(work))
        return result
