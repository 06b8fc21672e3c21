"""Structured logs: what happened, as an event name with fields. Secrets and message contents are never fields."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

REDACTED = frozenset({"api_key", "api_keys", "authorization", "token", "password", "messages", "prompt", "content"})
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def get_logger(name: str) -> Any:
    """Return a logger; usable at import, before :func:`setup`."""
    return structlog.get_logger(module=name)


def setup_if_unset() -> None:
    """Send warnings to standard error unless logs go somewhere already: structlog's own default is standard output."""
    if not structlog.is_configured():
        setup("warning")


def setup(level: str = "info", log_format: Literal["auto", "console", "json"] = "auto") -> None:
    """Send logs at ``level`` and above to standard error; ``auto`` means console on a terminal and JSON otherwise."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard module: the same place, the same level, warnings at least.
    logging.basicConfig(
        stream=sys.stderr, level=max(LEVELS[level], logging.WARNING), format="%(levelname)s %(name)s %(message)s"
    )


def _redact(_logger: Any, _method: str, event: Any) -> Any:
    for key in REDACTED.intersection(event):
        event[key] = "[redacted]"
    return event
