"""``RUST_LOG``, as programs in Rust read it: of its directives the bare level counts here.

https://docs.rs/env_logger/latest/env_logger/#enabling-logging
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelhost.config.settings import LogLevel

RUST_LOG: Final = "RUST_LOG"
RUST_LEVELS: Final[Mapping[str, LogLevel]] = {
    "off": "error",  # errors are always logged
    "error": "error",
    "warn": "warning",
    "warning": "warning",
    "info": "info",
    "debug": "debug",
    "trace": "debug",
}
"""Levels of programs in Rust, and what they are called here."""


def read_rust_log(text: str) -> tuple[LogLevel | None, str | None]:
    """The log level that ``text`` sets for the whole program, and a warning about what in it means nothing here.

    Of several bare levels the last one counts, as in Rust.
    """
    directives, has_filter, pattern = text.partition("/")
    level: LogLevel | None = None
    ignored = []
    for directive in map(str.strip, directives.split(",")):
        if directive.lower() in RUST_LEVELS:
            level = RUST_LEVELS[directive.lower()]
        elif directive:
            ignored.append(directive)
    if has_filter:
        ignored.append(f"/{pattern}")
    if not ignored:
        return level, None
    bare = "" if level else "; a level by itself counts, as info"
    return level, f"{', '.join(ignored)} is ignored: modules and filters are those of programs in Rust{bare}"
