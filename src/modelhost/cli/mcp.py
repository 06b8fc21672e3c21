"""``modelhost mcp``: an MCP server over standard input and output, and its log."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.cli.running_host import RunningHost, named_host
from modelhost.client.connections import DEFAULT_URL
from modelhost.config import environment
from modelhost.config.checks import config_error, find_problems
from modelhost.config.directories import data_directory
from modelhost.config.environment import KEY_VARIABLE, URL_VARIABLE, current, read_dotenv_settings
from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.config.value_types import LogLevel
from modelhost.config.vllm_environment import PREFERS_FLOAT16, VllmEnvironment, read_vllm_variables
from modelhost.errors import ConfigError, ModelhostError
from modelhost.mcp_servers.faces import FaceName
from modelhost.mcp_servers.standard_streams import nonblocking_stderr, standard_streams
from modelhost.mcp_servers.stdio_log import LogPlan, StdioLog
from modelhost.operations.models import LIST
from modelhost.operations.operation import NoParameters

if TYPE_CHECKING:
    from modelhost.client.remote import RemoteClient
    from modelhost.mcp_servers.chat_tool import ChatDefaults
    from modelhost.mcp_servers.own import OwnHost

EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost mcp                            everything; for the configuration of an MCP client\n"
    "  modelhost mcp llm --model ./model.gguf   chat with this model\n"
    "  modelhost mcp models --url http://gpu-box:8000\n"
    """  echo '{"jsonrpc":"2.0","id":2,"method":"tools/list"}' | modelhost mcp llm\n\n"""
    "It attaches to a running host, or starts its own. The VLLM_* variables of vLLM's MCP server set the model and\n"
    "the defaults of calls. With one of them set, or under FluidMCP, it logs its activity on standard error;\n"
    "VLLM_LOG_LEVEL=DEBUG also shows the messages, without their contents."
)
"""For the command's help."""

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="The model for chats that do not name one: a model of the host, or a file, directory or "
        "hub id. Default: VLLM_MODEL_NAME.",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Start a host with this configuration instead of attaching to a running one. Default: "
        "modelhost.yaml, if it exists and no host is running.",
        show_default=False,
    ),
]


def mcp(
    face: Annotated[
        FaceName,
        typer.Argument(
            metavar="FACE",
            help="The tools to offer: llm (chat), models (loading), state (sessions and saved states), or all.",
        ),
    ] = "all",
    model: ModelOption = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            help=f"The host. Default: {URL_VARIABLE}, or {DEFAULT_URL} if a modelhost with the model answers there, "
            "or a new host.",
        ),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option("--api-key", help=f"Key for the host. Default: {KEY_VARIABLE}.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run an MCP server over standard input and output, for a client that starts it."""
    vllm = read_vllm_variables(read_dotenv_settings(Path()).merged_with(current()))
    wanted = model or vllm.model
    host = running_host(wanted, url, api_key, config)
    backend, plan = _own(vllm, model, config) if host is None else (host.client, plan_beside_a_host(vllm))
    lazy.preload("mcp_stdio", "mcp_server")
    defaults = lazy.mcp_chat_tool.ChatDefaults(model=None if host is None else wanted, **vllm.calls)
    if sys.stdin is not None and sys.stdin.isatty():
        console.note(
            "an MCP server: it reads messages, one on a line, and is usually started by a client (Ctrl-D ends it)"
        )
    name = "own" if host is None else host.url
    with StdioLog(plan, nonblocking_stderr(), face=face, host=name, model=wanted) as log:
        with suppress(asyncio.CancelledError):
            asyncio.run(_serve(face, backend, defaults, log))
        log.stopped()


async def _serve(face: FaceName, backend: OwnHost | RemoteClient, defaults: ChatDefaults, log: StdioLog) -> None:
    with standard_streams(line_bytes=lazy.mcp_stdio.MESSAGE_BYTES) as wire, _ended_by_signals(log):
        async with backend:
            log.started()
            await lazy.mcp_stdio.serve(lazy.mcp_server.build_server(face, backend, defaults), wire, log)


def running_host(model: str | None, url: str | None, api_key: str | None, config: Path | None) -> RunningHost | None:
    """Return the host to attach to; ``None``: an own host is needed.

    Raises:
        ConfigError: not an HTTP address.
    """
    named = named_host(url, api_key)
    if named.url:
        return RunningHost(named.url, named.api_key)  # whether it runs, each call finds out
    local = RunningHost(DEFAULT_URL, named.api_key)
    return local if config is None and local.is_modelhost() and _has(local, model) else None


def _has(host: RunningHost, model: str | None) -> bool:
    if model is None:
        return True
    try:
        cards = host.call(LIST, NoParameters()).models
    except ModelhostError:
        return False  # it requires a key, or stopped
    return any(model in (card.id, *card.aliases) for card in cards)


def _own(vllm: VllmEnvironment, model: str | None, config: Path | None) -> tuple[OwnHost, LogPlan]:
    flags = {**vllm.settings, **({} if model is None else {"model": model})}
    effective = load(flags, config_path=config, environ=current(), cwd=Path.cwd())
    for warning in effective.warnings:
        console.warning(warning)
    launch = {PREFERS_FLOAT16: True, **vllm.launch}
    plan = _plan(effective.settings, vllm, is_chosen=effective.origins["log_level"].kind != "default")
    return lazy.mcp_own.OwnHost(effective.settings, launch=launch), plan


@contextmanager
def _ended_by_signals(log: StdioLog) -> Iterator[None]:
    """Cancel the current task on the first SIGTERM or SIGINT; the next one ends the process."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGTERM, signal.SIGINT)

    def end(number: signal.Signals) -> None:
        log.stopping(number.name)
        for each in numbers:
            loop.remove_signal_handler(each)
        task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(mcp)

OF_THE_LOG: Final = ("log_level", "log_format", "data_dir")


def plan_beside_a_host(vllm: VllmEnvironment) -> LogPlan:
    """Return the log plan of a server attached to a host, from the environment only.

    Raises:
        ConfigError: a setting of the environment is invalid.
    """
    given = [each for each in environment.read(environment.current()).given if each.setting.key in OF_THE_LOG]
    if problems := [problem for each in given for problem in find_problems(each)]:
        raise config_error(problems, what="the environment")
    values = {key: value for key, value in vllm.settings.items() if key == "log_level"}
    values |= {each.setting.key: each.value for each in given}
    return _plan(Settings.model_validate(values), vllm, is_chosen="log_level" in values)


def _plan(settings: Settings, vllm: VllmEnvironment, *, is_chosen: bool) -> LogPlan:
    expected: LogLevel = "info" if vllm.is_set else "warning"
    return LogPlan(
        level=settings.log_level if is_chosen else expected,
        is_level_chosen=is_chosen,
        log_format=settings.log_format,
        file=_file(settings),
    )


def _file(settings: Settings) -> Path:
    name = f"mcp-{os.getpid()}.log"
    try:
        return data_directory(settings) / "logs" / name
    except ConfigError:  # there is no home directory: the server must not fail because of its log
        return Path(name).absolute()
