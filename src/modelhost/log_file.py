"""A log file, written by its own thread, with one file per day and no deletion."""

from __future__ import annotations

import copy
import logging
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from io import TextIOWrapper
from itertools import count
from logging.handlers import BaseRotatingHandler, QueueHandler, QueueListener
from pathlib import Path
from typing import Final

from modelhost.errors import ConfigError

Clock = Callable[[], float]
"""Seconds since the epoch."""
MAX_WAITING_RECORDS: Final = 100_000
"""Further records are dropped, so that a disk that hangs does not exhaust the memory of the host."""


REOPEN: Final = logging.makeLogRecord({"msg": "reopen"})
"""A marker instead of a record: the file was renamed and is to be reopened."""


class DailyFile(BaseRotatingHandler):
    """Appends to a file, which is renamed to ``NAME-YYYYMMDD``, its local day, at the end of the day.

    The time of the record decides, not that of writing. (``TimedRotatingFileHandler`` uses the clock of the machine,
    and deletes an existing file of the new name.)
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file, which may have content already.

        Raises:
            OSError: it cannot be opened.
        """
        super().__init__(path, mode="a", encoding="utf-8")
        held = path.stat()
        self._day = _day(held.st_mtime if held.st_size else clock())
        self._is_failing = False

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  (the name in logging)
        return _day(record.created) > self._day

    def doRollover(self) -> None:  # noqa: N802  (the name in logging)
        if self.stream is not None:
            self.stream.close()
            self.stream = None  # opened anew by the next record, as in logging's own
        try:
            self.rotate(self.baseFilename, _unused(f"{self.baseFilename}-{self._day:%Y%m%d}"))
        except OSError as error:  # then the next day goes into the same file
            self._complain(f"cannot rename the log file {self.baseFilename}: {error}")

    def emit(self, record: logging.LogRecord) -> None:
        if record is REOPEN:
            self._reopen()
            return
        super().emit(record)
        self._day = max(self._day, _day(record.created))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name in logging)
        """Report once that the file cannot be written; the host continues without it."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_failing:
            self._is_failing = True
            self._complain(f"cannot write to the log file {self.baseFilename}: {error}")

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_for_this_user)

    def _reopen(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        try:
            self.stream = self._open()
        except OSError as error:  # the next record tries again
            self._complain(f"cannot open the log file {self.baseFilename}: {error}")

    def _complain(self, what: str) -> None:
        sys.stderr.write(f"{what}\n")


class LogFile(QueueHandler):
    """Passes records to the writing thread as formatted lines, with the time of the log's own clock."""

    def __init__(self, records: queue.Queue[logging.LogRecord], clock: Clock) -> None:
        super().__init__(records)
        self._clock = clock

    def reopen(self) -> None:
        """Reopen the file for all further records; earlier ones go to the old file."""
        with suppress(queue.Full):
            self.enqueue(REOPEN)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record = copy.copy(record)
        record.created = self._clock()
        record.msg, record.args, record.exc_info, record.exc_text = self.format(record), None, None, None
        return record

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name in logging)
        if not isinstance(sys.exception(), queue.Full):
            super().handleError(record)


@contextmanager
def open_log_file(path: Path, formatter: logging.Formatter, clock: Clock = time.time) -> Iterator[LogFile]:
    """Yield a handler that never blocks; at the end of the context its records are in the file at ``path`` (absolute).

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        file = DailyFile(path, clock)
    except OSError as error:
        raise ConfigError(
            f"cannot write to the log file {path}: {error.strerror or error}; name another with --log-file "
            '("log filename" in a config.json)',
            param="log_file",
        ) from error
    records: queue.Queue[logging.LogRecord] = queue.Queue(MAX_WAITING_RECORDS)
    handler = LogFile(records, clock)
    handler.setFormatter(formatter)
    listener = QueueListener(records, file)
    listener.start()
    try:
        yield handler
    finally:
        listener.stop()
        file.close()


def _for_this_user(path: str, flags: int) -> int:
    """Open a file, created readable for this user only: it may contain prompts and answers."""
    return os.open(path, flags, 0o600)


def _day(seconds: float) -> date:
    return date.fromtimestamp(seconds)  # noqa: DTZ012  (the day of the people who read the log)


def _unused(name: str) -> str:
    """Return ``name``, with a number appended if it exists."""
    if not Path(name).exists():
        return name
    return next(each for number in count(1) if not Path(each := f"{name}.{number}").exists())
