"""A configuration that is refused before there is a host: its log file, if it names one, says so too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from modelhost import logs
from modelhost.cli import console
from modelhost.errors import ConfigError


def in_log_file(command: Callable[..., None]) -> Callable[..., None]:
    """Have ``command`` write to the log file of a configuration why that cannot be used, and raise it all the same."""

    @functools.wraps(command)
    def noting(**values: Any) -> None:
        try:
            command(**values)
        except ConfigError as error:
            if path := error.details.get("log_file"):
                _note(path, error)
            raise

    return noting


def _note(path: str, error: ConfigError) -> None:
    with ExitStack() as opened:
        try:
            opened.enter_context(logs.to_file(path, "error"))
        except ConfigError as unwritable:
            console.warning(unwritable.message)
        else:
            logs.note_end(error)
