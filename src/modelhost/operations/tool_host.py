"""What the operations on tools need of a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelhost.tools.context import CallContext, ElicitationAnswer
from modelhost.tools.status import ServerStatus

if TYPE_CHECKING:  # at run time they bring the MCP SDK with them, which the command line does not need to ask a host
    from modelhost.tools.offered import OfferedTool
    from modelhost.tools.outcome import ToolOutcome
    from modelhost.tools.resources import Prompt, PromptInfo, ResourceContent, ResourceInfo


class Readings(Protocol):
    """What servers have beside tools.

    All methods raise McpServerNotFound, ToolServerUnavailable and ToolCallFailed.
    """

    async def resources(self, server: str) -> tuple[ResourceInfo, ...]: ...
    async def resource(self, server: str, uri: str) -> tuple[ResourceContent, ...]: ...
    async def prompts(self, server: str) -> tuple[PromptInfo, ...]: ...
    async def prompt(self, server: str, name: str, arguments: Mapping[str, str]) -> Prompt: ...


class Hub(Protocol):
    """The MCP servers and their tools."""

    def statuses(self) -> tuple[ServerStatus, ...]:
        """All servers, in the order of the configuration."""

    def status(self, name: str) -> ServerStatus:
        """One server; raises McpServerNotFound."""

    async def restart(self, name: str) -> None:
        """Begin to connect a server anew; raises McpServerNotFound, ToolServerUnavailable."""

    async def enable(self, name: str) -> None:
        """Begin to connect a disabled server; raises McpServerNotFound, ToolServerUnavailable."""

    async def disable(self, name: str) -> None:
        """End a server; raises McpServerNotFound."""

    def offered(self) -> tuple[OfferedTool, ...]:
        """The tools that can be called now."""

    def tool(self, name: str) -> OfferedTool:
        """The tool that models know under ``name``; raises ToolNotFound."""

    async def call(self, name: str, arguments: Mapping[str, Any], context: CallContext) -> ToolOutcome:
        """Call a tool; what goes wrong is an outcome."""


class ToolFile(Protocol):
    """The file that the servers come from."""

    @property
    def path(self) -> Path | None: ...
    @property
    def file_error(self) -> str | None:
        """Why the file as it stands is not in force; the one before it is."""


class OpenQuestions(Protocol):
    """What somebody was asked. Both methods raise NotFound if nobody waits for the answer any more."""

    def answer_approval(self, question: str, *, is_approved: bool | None) -> None: ...
    def answer_elicitation(self, question: str, answer: ElicitationAnswer) -> None:
        """Also raises InvalidAnswer."""


class ToolHost(Protocol):
    """The host as the operations on tools see it."""

    @property
    def toolbox(self) -> ToolFile: ...
    @property
    def tools(self) -> Hub: ...
    @property
    def readings(self) -> Readings: ...
    @property
    def questions(self) -> OpenQuestions: ...
