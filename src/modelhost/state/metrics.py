"""The history of metrics in the database; what is in it is the monitor's (:mod:`modelhost.monitor.history`)."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from modelhost.monitor.history import HistoryRows
from modelhost.state.history.database import HistoryDatabase
from modelhost.state.history.metric_rows import MetricRows

T = TypeVar("T")


class MetricStore:
    """A :class:`modelhost.monitor.history.HistoryStore`."""

    def __init__(self, database: HistoryDatabase, data_dir: Path) -> None:
        self._database = database
        self._data_dir = data_dir

    @property
    def source(self) -> str:
        """The name of this host among those of a database, the same after a restart: machine and data directory."""
        return f"{platform.node()[:64]}-{crc32(str(self._data_dir).encode()):08x}"

    @property
    def is_open(self) -> bool:
        return self._database.is_open

    async def read(self, work: Callable[[HistoryRows], T]) -> T:
        return await self._database.read(lambda statements: work(MetricRows(statements)))

    async def write(self, work: Callable[[HistoryRows], T]) -> T:
        return await self._database.write(lambda statements: work(MetricRows(statements)))
