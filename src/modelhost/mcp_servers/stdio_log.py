"""The log of a server over standard input and output: start, client, messages and end.

FluidMCP keeps the standard error of its servers and never reads it. It gets events from "info" on, as it expects,
and few enough that the pipe never fills: the log then continues in a file, as its last line there states.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from modelhost import logs
from modelhost.config.directories import make_private
from modelhost.config.value_types import LogFormat, LogLevel
from modelhost.errors import ConfigError
from modelhost.mcp_servers.faces import FaceName
from modelhost.mcp_servers.standard_streams import UnreadableOutput

FLUIDMCP: Final = "fluidmcp-client"
"""The client name of FluidMCP."""
ENOUGH_BYTES: Final = 16 * 1024
"""How much is logged to a pipe that may have no reader: some hundred calls. The smallest pipe holds 64 KiB."""
TEXT_CHARS: Final = 100
"""The longest part of a client's name that is logged."""

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlan:
    """Which events are logged, and where."""

    level: LogLevel = "warning"
    is_level_chosen: bool = False
    """Whether the level was configured; otherwise it is "info" under FluidMCP."""
    log_format: LogFormat = "auto"
    file: Path
    """Where the log continues when standard error has enough."""


class StdioLog:
    """The log of one server; its file is closed at the end of the context."""

    def __init__(
        self, plan: LogPlan, standard_error: UnreadableOutput | None, *, face: FaceName, host: str, model: str | None
    ) -> None:
        """Take the server: ``host`` is the address of its host, or "own"; ``model`` the default model, if it was named.

        ``standard_error`` if it is a pipe; ``None``: it is a terminal or a file, which take any amount.
        """
        self._plan = plan
        self._output = standard_error
        self._level: LogLevel = plan.level
        self._face, self._host, self._model = face, host, model
        self._open = ExitStack()
        logs.setup(plan.level, plan.log_format)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def started(self) -> None:
        log.info("mcp_started", face=self._face, host=self._host, model=self._model, pid=os.getpid())

    def stopping(self, reason: str) -> None:
        log.info("mcp_stopping", reason=reason)

    def stopped(self) -> None:
        log.info("mcp_stopped")

    def received(self, message: Mapping[str, Any] | None, byte_count: int) -> None:
        """Log a line of the client; ``None``: it is no message."""
        if message is not None and message.get("method") == "initialize":
            self._greeted(message)
        _note_message("in", message, byte_count)

    def sent(self, message: Mapping[str, Any], byte_count: int) -> None:
        _note_message("out", message, byte_count)

    def _greeted(self, message: Mapping[str, Any]) -> None:
        params = mapping(message.get("params"))
        client = mapping(params.get("clientInfo"))
        if client.get("name") == FLUIDMCP:
            self._serve_fluidmcp()
        log.info(
            "mcp_client",
            name=_text(client.get("name")),
            version=_text(client.get("version")),
            protocol=_text(params.get("protocolVersion")),
        )

    def _serve_fluidmcp(self) -> None:
        if not self._plan.is_level_chosen and self._level == "warning":
            self._level = "info"
            logs.set_level("info")
            self.started()  # which was not shown, when it was
        if self._output is not None:
            loop = asyncio.get_running_loop()

            def go_on() -> None:
                # Not in the middle of a line, and not in a thread that happened to log.
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._go_on_in_file)

            self._output.limit(ENOUGH_BYTES, go_on)

    def _go_on_in_file(self) -> None:
        assert self._output is not None
        say = getattr(log, self._level)  # which is shown, whatever it is
        file = self._plan.file
        try:
            make_private(file.parent)
            self._open.enter_context(logs.log_to_file(str(file), self._level, self._plan.log_format))
        except (ConfigError, OSError) as error:
            say("log_ends", reason=str(error))
        else:
            say("log_goes_on", path=str(file))
        self._output.end()


def _note_message(way: Literal["in", "out"], message: Mapping[str, Any] | None, byte_count: int) -> None:
    if logs.has_debug():
        log.debug("mcp_message", way=way, **_outline(message), bytes=byte_count)


def _outline(message: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the kind and subject of a message, without its contents."""
    if message is None:
        return {"kind": "unreadable"}
    outline: dict[str, Any] = {"kind": _kind(message)}
    if "id" in message:
        outline["id"] = _text(message["id"])
    if "method" in message:
        outline["method"] = _text(message["method"])
    if message.get("method") == "tools/call":
        outline["tool"] = _text(mapping(message.get("params")).get("name"))
    if outline["kind"] == "error":
        outline["code"] = mapping(message["error"]).get("code")
    return outline


def _kind(message: Mapping[str, Any]) -> str:
    if "method" in message:
        return "request" if "id" in message else "notification"
    return "error" if "error" in message else "answer"


def _text(value: Any) -> Any:
    return value if isinstance(value, int | float | None) else str(value)[:TEXT_CHARS]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return ``value`` if it is an object of JSON, else an empty one."""
    return value if isinstance(value, dict) else {}
