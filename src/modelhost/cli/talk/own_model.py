"""A model of the command's own: ``modelhost.LLM``, started and stopped with the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from modelhost import logs
from modelhost.cli import console
from modelhost.cli.running_host import BlockingClient
from modelhost.cli.talk.chat import converse
from modelhost.cli.talk.options import first_model
from modelhost.client.local import LocalClient
from modelhost.config import environment
from modelhost.config.sources import EffectiveConfig, load
from modelhost.exchange.caller import NOBODY
from modelhost.llm import LLM
from modelhost.tools.entry import CONNECT_TIMEOUT_SECONDS
from modelhost.tools.status import ServerState


@contextmanager
def own_model(model: str | None, *, mcp_config: Path | None = None, has_tools: bool = True) -> Iterator[BlockingClient]:
    """Start ``model``, with the settings of ``modelhost serve``, for as long as the ``with`` lasts.

    With tools, they are those of ``mcp_config``, else of the settings, else of ``mcp.json`` if it is here.

    Raises:
        ModelhostError: the configuration is wrong, or the model cannot be started.
    """
    effective = load(
        {"model": model, "mcp_config": mcp_config},
        config_path=None,
        environ=environment.current(),
        cwd=Path.cwd(),
        default_files=("mcp_config",) if has_tools else (),
    )
    for warning in effective.warnings:
        console.warning(warning)
    with own_model_of(effective, has_tools=has_tools) as own:
        yield own


@contextmanager
def own_model_of(effective: EffectiveConfig, *, has_tools: bool = True) -> Iterator[BlockingClient]:
    """Start the model of ``effective`` for as long as the ``with`` lasts.

    Raises:
        ModelhostError: the model cannot be started.
    """
    # The terminal is for the answer: unless a level is configured, only warnings are logged.
    is_asked_for = effective.origins["log_level"].kind != "default"
    logs.setup(effective.settings.log_level if is_asked_for else "warning", effective.settings.log_format)
    given = {
        key: getattr(effective.settings, key) for key, origin in effective.origins.items() if origin.kind != "default"
    }
    if not has_tools:
        given.pop("mcp_config", None)
    with LLM(**given) as llm:
        if given.get("mcp_config"):
            _wait_for_tools(llm)
        yield BlockingClient(LocalClient(llm.host, NOBODY), llm)


def _wait_for_tools(llm: LLM) -> None:
    """Wait until every server is ready or has failed: an earlier question would be answered without tools."""
    hub = llm.host.tools
    llm.wait_for(hub.settled(CONNECT_TIMEOUT_SECONDS))
    for status in hub.statuses():
        if status.state not in {ServerState.READY, ServerState.DISABLED}:
            console.warning(f"{status.name} {console.printable(status.last_error or f'is {status.state}')}")


LISTENING: Final = ("host", "port", "mcp_port")


def talk(effective: EffectiveConfig) -> None:
    """Start the model, talk until the user ends the chat, and stop the model."""
    idle = [effective.origins[key].name for key in LISTENING if effective.origins[key].kind == "flag"]
    if idle:
        console.warning(f"{', '.join(idle)}: no effect with -i, since nothing listens")
    with own_model_of(effective) as own:
        converse(own, {"model": first_model(own)}, system=effective.settings.system_prompt)
