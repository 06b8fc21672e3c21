"""``modelhost launch``: a coding agent that uses a running host."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, Literal

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.cli.running_host import Key, RunningHost, Url, running_host
from modelhost.cli.signature import option, with_signature
from modelhost.config import environment
from modelhost.errors import ConfigError
from modelhost.operations.cards import ModelCard
from modelhost.operations.models import LIST
from modelhost.operations.operation import NoParameters

if TYPE_CHECKING:
    from modelhost.cli.launch.plan import Agent, Target

AgentName = Literal["claude", "codex", "opencode", "crush", "aider", "continue"]
SMALL_CONTEXT: Final = 32_768
"""Tokens below which an agent's own prompt and tools leave little room; those of Claude Code take about 20,000."""
EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost launch claude                         Claude Code with the active model\n"
    '  modelhost launch claude -- -p "Explain this."   what follows -- goes to the agent\n'
    "  modelhost launch opencode --model qwen          with another model of the host\n"
    "  modelhost launch aider --url http://gpu-box:8000 -- main.py\n"
    "  modelhost launch crush --print                  only print the script that would start it"
)


def _with_host(command: Callable[Concatenate[RunningHost, ...], None]) -> Callable[..., None]:
    """Give a command the options of a running host, and the host as its first argument."""
    _host, *own = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        url, api_key = values.pop("url"), values.pop("api_key")
        command(running_host(url, api_key), **values)

    return with_signature(with_options, [*own, option("url", Url, None), option("api_key", Key, None)])


@_with_host
def launch(
    host: RunningHost,
    agent: Annotated[
        AgentName, typer.Argument(metavar="AGENT", help="claude, codex, opencode, crush, aider or continue.")
    ],
    extra: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- ARGUMENTS", help="Arguments for the agent, after `--`.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model of the host. Default: the active one.", show_default=False),
    ] = None,
    only_print: Annotated[
        bool,
        typer.Option(
            "--print",
            help="Print a shell script that starts the agent in the same way, and start nothing. It names the variable "
            "of the key, and does not contain the key.",
        ),
    ] = False,
) -> None:
    """Start a coding agent that uses a running host.

    The agent gets variables, arguments or temporary files; its own files are not changed. The command exits with the
    status of the agent.
    """
    chosen = lazy.launch_recipes.AGENTS[agent]
    target = _target_of(host, model)
    is_supported = host.has_path(chosen.api)
    plan = chosen.plan(target, environment.current())
    arguments = tuple(extra or ())
    _warn_of_small_context(target)
    if only_print:
        if not is_supported:
            console.warning(_missing(chosen, host))
        typer.echo(lazy.launch_plan.script_of(chosen, plan, arguments, has_key=host.api_key is not None))
        return
    if not is_supported:
        raise ConfigError(_missing(chosen, host))
    raise typer.Exit(lazy.launch_plan.run_agent(chosen, plan, arguments, host.api_key))


def _missing(agent: Agent, host: RunningHost) -> str:
    return f"{agent.title} needs the API at {agent.api}, which the host at {host.url} does not have"


def _target_of(host: RunningHost, model: str | None) -> Target:
    """Return what an agent is to use.

    Raises:
        ConfigError: the host has no such model, or none that chats.
        ModelhostError: no host answers.
    """
    cards = host.call(LIST, NoParameters()).models
    chatting = tuple(card for card in cards if not card.operations or "chat" in card.operations)
    if not chatting:
        raise ConfigError(f"the host at {host.url} has no model that chats: load one with modelhost models load NAME")
    return lazy.launch_plan.Target(url=host.url, model=_chosen(chatting, cards, model), models=chatting)


def _chosen(chatting: Sequence[ModelCard], cards: Sequence[ModelCard], name: str | None) -> ModelCard:
    if name is None:
        return chatting[0]  # the active one, if that chats
    for card in chatting:
        if name in (card.id, *card.aliases):
            return card
    if any(name in (card.id, *card.aliases) for card in cards):
        raise ConfigError(f"{name} does not chat; models that do: {', '.join(card.id for card in chatting)}")
    raise ConfigError(f'the host has no model "{name}"; it has: {", ".join(card.id for card in chatting)}')


def _warn_of_small_context(target: Target) -> None:
    context = target.model.context_length
    if context is not None and context < SMALL_CONTEXT:
        console.warning(
            f"{target.model.id} has a context of {context:,} tokens; the prompt and the tools of a coding agent alone "
            f"take up to 20,000. Serve it with --context-length {SMALL_CONTEXT} or more."
        )


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(launch)
