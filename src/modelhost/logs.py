"""Structured logs: event names with fields, on standard error and in files.

Secrets are never fields, and are masked in texts (:mod:`modelhost.redaction`). Message contents are only written to
files that were opened for them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TextIO, cast

from modelhost import trace_context
from modelhost.errors import ConfigError, ModelhostError
from modelhost.lazy import without
from modelhost.log_file import Clock, LogFile, open_log_file
from modelhost.redaction import MASK, without_secrets

with without("rich", "greenlet", "colorama"):  # 6 MB and 40 ms for tracebacks and terminals that are not written for
    import structlog

CONTENTS: Final = frozenset({"messages", "prompt", "content", "response"})
REDACTED: Final = frozenset({"api_key", "api_keys", "authorization", "token", "password"})
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
OUTPUT: Final = frozenset({"worker_log", "mcp_server_log"})
"""Lines that other processes wrote: at level "debug" on standard error, and from "info" on in files."""
RECORDS: Final = OUTPUT | {"prompt_received", "prompt_answered", "prompt_refused", "mcp_server_lost"}
"""Events that a file for contents gets at any level."""

Format = Literal["auto", "console", "json"]


@dataclass(frozen=True, slots=True)
class _File:
    """An open log file."""

    path: Path
    level: int
    handler: LogFile
    with_contents: bool

    @property
    def records(self) -> frozenset[str]:
        """The events that it gets at any level."""
        return RECORDS if self.with_contents else OUTPUT if self.level <= logging.INFO else frozenset()

    def takes(self, event: Any, level: int) -> bool:
        return level >= self.level or event.get("event") in self.records


@dataclass(slots=True)
class _Outputs:
    """The outputs of this process; there is one instance, as structlog has one configuration."""

    level: int = logging.WARNING
    renderer: Any = None
    files: list[_File] = field(default_factory=list)
    has_debug: bool = False
    """Whether any output takes "debug"; cached, since every request reads it."""

    @property
    def least_level(self) -> int:
        """The lowest level that any output takes."""
        of_files = (logging.DEBUG if file.records else file.level for file in self.files)
        return min(self.level, *of_files, logging.ERROR)


_OUTPUTS: Final = _Outputs()


class _Unfailing:
    """A stream whose errors are ignored: its disk may be full, its reader gone, or the stream closed."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()


@cache
def _encoder(**options: Any) -> json.JSONEncoder:
    return json.JSONEncoder(**options)


def _dumps(event: Any, **options: Any) -> str:
    """Return ``event`` as JSON as :func:`json.dumps` does, which makes an encoder each time."""
    return _encoder(**options).encode(event)


def _json_lines(**options: Any) -> Any:
    return structlog.processors.JSONRenderer(serializer=_dumps, **options)


class _Logger:
    """A logger of structlog, made again only when its configuration changes: that takes as long as a line does."""

    __slots__ = ("_configuration", "_lazy", "_made")

    def __init__(self, name: str) -> None:
        self._lazy = structlog.get_logger(module=name)
        self._made: Any = self._lazy
        self._configuration: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        configuration = structlog.get_config()  # which a program that embeds a host may change, too
        if configuration != self._configuration:
            self._made, self._configuration = self._lazy.bind(), configuration
        return getattr(self._made, name)


def get_logger(name: str) -> Any:
    """Return a logger; usable at import, before :func:`setup`."""
    return _Logger(name)


def setup_once() -> None:
    """Send warnings to standard error unless logging is configured; structlog's default is standard output."""
    if not structlog.is_configured():
        setup("warning")


def setup(level: str = "info", log_format: Format = "auto") -> None:
    """Send logs at ``level`` and above to standard error; ``auto`` means console on a terminal and JSON otherwise."""
    stream = _Unfailing(sys.stderr)
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    _OUTPUTS.level = LEVELS[level]
    _OUTPUTS.renderer = structlog.dev.ConsoleRenderer() if console else _json_lines()
    _configure()
    # Libraries log through the standard module: the same place, the same level, warnings at least.
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Masked("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING))


@contextmanager
def log_to_file(
    path: str | None, level: str, log_format: Format = "auto", *, with_contents: bool = False, clock: Clock = time.time
) -> Iterator[None]:
    """Also log to the file at ``path``, at ``level`` and above, with the output of other processes from "info" on.

    A file ``with_contents`` gets prompts, answers and the output of other processes at any level. Lines are JSON unless
    ``log_format`` is "console". At the end of the context everything is written. Without a path, or if the file is open
    already, nothing is done.

    Raises:
        ConfigError: the file cannot be opened.
    """
    try:
        absolute = Path(path or "").expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no home directory for its ~: write the whole path") from error
    if path is None or any(file.path == absolute for file in _OUTPUTS.files):
        yield
        return
    setup_once()
    renderer: Any = _json_lines(ensure_ascii=False)
    if log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    hidden = REDACTED if with_contents else REDACTED | CONTENTS
    with open_log_file(absolute, _Lines(renderer, hidden), clock) as handler:
        handler.setLevel(max(LEVELS[level], logging.WARNING))  # of libraries; our own events do not pass it
        file = _File(absolute, LEVELS[level], handler, with_contents)
        _OUTPUTS.files.append(file)
        logging.getLogger().addHandler(handler)
        _configure()
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            _OUTPUTS.files[:] = [each for each in _OUTPUTS.files if each.path != absolute]
            _configure()


def has_debug() -> bool:
    """Whether any output takes "debug"; checked before a request gathers the fields of such an event."""
    return _OUTPUTS.has_debug


def reopen_files() -> None:
    """Reopen the log files after they were renamed (``logrotate``)."""
    for file in _OUTPUTS.files:
        file.handler.reopen()


def set_level(level: str) -> None:
    """Change the level of standard error and the files."""
    _OUTPUTS.level = LEVELS[level]
    _OUTPUTS.files[:] = [replace(file, level=LEVELS[level]) for file in _OUTPUTS.files]
    of_libraries = max(LEVELS[level], logging.WARNING)
    logging.getLogger().setLevel(of_libraries)
    for file in _OUTPUTS.files:
        file.handler.setLevel(of_libraries)
    _configure()


@contextmanager
def log_fatal_error() -> Iterator[None]:
    """Write the error that ends the body to the log files only; the command prints it on standard error."""
    try:
        yield
    except ModelhostError as error:
        log_exit_reason(error)
        raise
    except Exception:
        _in_files("ended", exception=traceback.format_exc())
        raise


def log_exit_reason(error: ModelhostError) -> None:
    """Write ``error`` as the reason of the exit to the log files."""
    _in_files("ended", code=error.code, reason=error.message)


def _in_files(event: str, **fields: Any) -> None:
    """Log an error to the files only."""
    _to_files(None, "", {"event": event, "level": "error", **fields})


def _configure() -> None:
    _OUTPUTS.has_debug = min(_OUTPUTS.level, *(file.level for file in _OUTPUTS.files), logging.INFO) <= logging.DEBUG
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _add_trace,
            structlog.processors.format_exc_info,
            _to_files,
            _for_standard_error,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _OUTPUTS.renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_OUTPUTS.least_level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Unfailing(sys.stderr))),
        cache_logger_on_first_use=False,
    )


def _add_trace(_logger: Any, _method: str, event: Any) -> Any:
    """Add the ids of the trace that the event belongs to."""
    if (context := trace_context.current()) is not None:
        event["trace_id"], event["span_id"] = context.trace_id, context.span_id
    return event


def _to_files(_logger: Any, _method: str, event: Any) -> Any:
    level = LEVELS.get(event["level"], logging.ERROR)
    for file in _OUTPUTS.files:
        if file.takes(event, level):
            file.handler.handle(logging.makeLogRecord({"msg": dict(event), "levelno": level}))
    return event


def _for_standard_error(_logger: Any, _method: str, event: Any) -> Any:
    if LEVELS.get(event["level"], logging.ERROR) < _OUTPUTS.level:
        raise structlog.DropEvent
    return _without(event, REDACTED | CONTENTS)


def _without(event: Any, hidden: frozenset[str]) -> Any:
    for key in hidden.intersection(event):
        event[key] = MASK
    return without_secrets(event)


class _Masked(logging.Formatter):
    """The records of libraries, as they are but for secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return str(without_secrets(super().format(record)))


class _Lines(logging.Formatter):
    """A line of text for each event of ours, and for each record of a library."""

    def __init__(self, renderer: Any, hidden: frozenset[str]) -> None:
        super().__init__()
        self._renderer = renderer
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg if isinstance(record.msg, dict) else self._event_of(record)
        at = datetime.fromtimestamp(record.created).astimezone()
        event = {**event, "timestamp": at.isoformat(timespec="milliseconds")}
        return str(self._renderer(None, "", _without(event, self._hidden)))

    def _event_of(self, record: logging.LogRecord) -> dict[str, Any]:
        event = {"event": record.getMessage(), "module": record.name, "level": record.levelname.lower()}
        return {**event, "exception": self.formatException(record.exc_info)} if record.exc_info else event
