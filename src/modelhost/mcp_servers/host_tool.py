"""One tool of a server: its definition, and how a call of it runs and what comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types

from modelhost.exchange.tasks import Task
from modelhost.mcp_servers.chat_tool import ReportPiece
from modelhost.operations.operation import OnProgress, ignore_progress


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Where a call reports to; ``depth`` is how deeply it is nested in tool calls."""

    depth: int = 0
    tell: ReportPiece | None = None
    """Gets the pieces of an answer."""
    on_progress: OnProgress = ignore_progress
    """Gets the progress of long operations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """The result of a call: ``structured`` as JSON, and ``text`` for clients that show only text."""

    structured: Mapping[str, Any]
    text: str | None = None
    media: tuple[types.ContentBlock, ...] = ()
    """Content besides text, which comes first in the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTool:
    definition: types.Tool
    names: frozenset[str]
    """The names of its parameters; other arguments are meant for intermediaries and dropped."""
    kept: Callable[[Mapping[str, Any]], dict[str, Any]]
    """Returns the arguments that the audit log may keep."""
    work: Callable[[Mapping[str, Any], CallContext], Awaitable[ToolOutcome]]
    reports_progress: bool = False
    task: Task | None = None
    """The task that some model of the host has to do for the tool to be listed; ``None``: it is always listed."""

    async def run(self, arguments: Mapping[str, Any], reader: CallContext) -> ToolOutcome:
        """Run it; raises a :class:`ModelhostError`."""
        return await self.work({name: value for name, value in arguments.items() if name in self.names}, reader)
