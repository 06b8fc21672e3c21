"""The target of a tools command: a running host, or the servers of a file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, Final, Protocol

import typer

from modelhost import lazy
from modelhost.cli.running_host import Key, Url, running_host
from modelhost.cli.signature import option, with_signature
from modelhost.errors import ConfigError
from modelhost.operations.operation import Operation, P, R


class Target(Protocol):
    """Runs operations on tools."""

    def call(self, operation: Operation[P, R], parameters: P) -> R: ...


_OPTIONS: Final = (
    option(
        "config",
        Path | None,
        typer.Option(
            None,
            "--config",
            "-c",
            metavar="FILE",
            help="Use no host: start the MCP servers of this file for this command.",
            show_default=False,
        ),
    ),
    option("url", Url, None),
    option("api_key", Key, None),
)


def with_target(command: Callable[Concatenate[Target, ...], None]) -> Callable[..., None]:
    """Give a command options for its target, and the target as its first argument."""
    _target, *own = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        config, url, api_key = (values.pop(name) for name in ("config", "url", "api_key"))
        with _target_of(config, url, api_key) as target:
            command(target, **values)

    return with_signature(with_options, [*own, *_OPTIONS])


@contextmanager
def _target_of(config: Path | None, url: str | None, api_key: str | None) -> Iterator[Target]:
    if config is None:
        yield running_host(url, api_key)
        return
    if url is not None:
        raise ConfigError("--config uses no host, and --url names one; give one of them")
    with lazy.file_servers.open_file_servers(config) as tools:
        yield tools
