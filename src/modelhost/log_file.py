"""A log file: written by a thread of its own, one file a day, none ever deleted."""

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
"""For the disk. Past that, records are dropped: a disk that hangs must not take the memory of the host."""


REOPEN: Final = logging.makeLogRecord({"msg": "reopen"})
"""In the place of a record: the file is opened anew, since somebody has renamed it."""


class DailyFile(BaseRotatingHandler):
    """Appends to a file, which is renamed to ``NAME-YYYYMMDD``, the local day that it holds, when a day is over.

    What counts is the time of a record, not the time at which it is written: one of the last second of a day is in the
    file of that day. (``TimedRotatingFileHandler`` asks the clock of the machine, and deletes a file that has the name
    already.)
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file, which may hold something already.

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
        except OSError as error:  # then another day goes into the same file
            self._complain(f"cannot rename the log file {self.baseFilename}: {error}")

    def emit(self, record: logging.LogRecord) -> None:
        if record is REOPEN:
            self._reopen()
            return
        super().emit(record)
        self._day = max(self._day, _day(record.created))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name in logging)
        """Say once that the file cannot be written: the host goes on without it."""
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
    """Hands records to the thread that writes, as lines of text, with the time of the log's own clock."""

    def __init__(self, records: queue.Queue[logging.LogRecord], clock: Clock) -> None:
        super().__init__(records)
        self._clock = clock

    def reopen(self) -> None:
        """Have what follows written to a file opened anew, and what came before to the old one."""
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
    """A handler whose records are in the file at ``path``, an absolute one, when the context ends.

    It never waits for the disk.

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
    """Open a file, which is nobody else's to read if it is new: what people ask and are answered may be in it."""
    return os.open(path, flags, 0o600)


def _day(seconds: float) -> date:
    return date.fromtimestamp(seconds)  # noqa: DTZ012  (the day of the people who read the log)


def _unused(name: str) -> str:
    """``name``, or with a number behind it: nothing that is there is written over."""
    if not Path(name).exists():
        return name
    return next(each for number in count(1) if not Path(each := f"{name}.{number}").exists())
