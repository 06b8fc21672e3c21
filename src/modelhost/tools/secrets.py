"""What is secret in a file of MCP servers: the values of its variables, and what its names say is a secret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modelhost.config.variables import referenced
from modelhost.redaction import NO_SECRETS, is_secret_name
from modelhost.tools.entry import Process, Remote, ServerEntry


def secrets_in(document: Any, variables: Mapping[str, str], entries: Iterable[ServerEntry]) -> frozenset[str]:
    """The secrets of a file that was read as ``document`` and holds ``entries``."""
    of_variables = {variables[name] for name in referenced(document) if name in variables and name not in NO_SECRETS}
    return frozenset(of_variables.union(*(_of_transport(entry.transport) for entry in entries)))


def _of_transport(transport: Process | Remote | None) -> Iterator[str]:
    named = transport.env if isinstance(transport, Process) else transport.headers if transport is not None else {}
    for name, value in named.items():
        if is_secret_name(name):
            yield value
            yield value.rpartition(" ")[2]  # without a scheme such as "Bearer"
