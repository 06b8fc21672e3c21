"""The options of commands that talk to a model, and where it is: on a named host, on one here, or in the command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, TypeVar, get_type_hints

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.cli.running_host import BlockingClient, RunningHost, named_host
from modelhost.cli.signature import option, with_signature
from modelhost.client.connections import DEFAULT_URL
from modelhost.config.environment import KEY_VARIABLE, URL_VARIABLE
from modelhost.config.paths import expand_home
from modelhost.config.request_defaults import HIGHEST_TEMPERATURE
from modelhost.errors import ConfigError
from modelhost.tools.entry import Approval

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


HostUrl = Annotated[
    str | None,
    typer.Option("--url", help=f"The host. Default: {URL_VARIABLE}, or {DEFAULT_URL} if a modelhost answers there."),
]
HostKey = Annotated[str | None, typer.Option("--api-key", help=f"Key for the host. Default: {KEY_VARIABLE}.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkOptions:
    """Which model to talk to, and how it should answer. ``None`` means not given."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="A model of the host, or a file, directory or hub id to start for this command."
        ),
    ] = None
    system: Annotated[str | None, typer.Option("--system", "-s", help="The system message.")] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-t",
            min=0,
            max=HIGHEST_TEMPERATURE,
            help="Sampling temperature; 0 always selects the most likely token.",
        ),
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Maximum length of the answer, in tokens.")
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same answer.")] = None
    url: HostUrl = None
    api_key: HostKey = None
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Answer without the tools of MCP servers.")] = False
    approval: Annotated[
        Approval | None,
        typer.Option(
            "--approval",
            help="When tool calls run: auto (always), read_only (without approval only if they read), ask "
            "(after approval), deny (never). The stricter of this and the host's rule applies.",
        ),
    ] = None
    mcp_config: Annotated[
        Path | None,
        typer.Option(
            "--mcp-config",
            metavar="FILE",
            help="File with MCP servers; the command then starts its own model. Default: `mcp.json`, if it exists.",
            show_default=False,
        ),
    ] = None

    def request(self) -> dict[str, Any]:
        """Return the given fields of a request, under their names in the API.

        Raises:
            ConfigError: two of them contradict each other.
        """
        if self.no_tools and (self.approval is not None or self.mcp_config is not None):
            raise ConfigError("--no-tools leaves nothing for --approval and --mcp-config to do; give one of them")
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "tools": [] if self.no_tools else None,
            "mcp": None if self.approval is None else {"approval": self.approval},
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundOptions:
    """Which host speaks or transcribes, with which model. ``None`` means not given."""

    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model of the host, or a directory or name to start for this command."),
    ] = None
    url: HostUrl = None
    api_key: HostKey = None


def with_options(kind: type[Options]) -> Callable[[Callable[Concatenate[Options, ...], None]], Callable[..., None]]:
    """Give a command the options ``kind``, a dataclass, as its first argument; its other parameters stay its own."""

    def decorate(command: Callable[Concatenate[Options, ...], None]) -> Callable[..., None]:
        _options, *own = inspect.signature(command, eval_str=True).parameters.values()
        hints = get_type_hints(kind, include_extras=True)
        shared = [option(field.name, hints[field.name], field.default) for field in fields(kind)]

        @functools.wraps(command)
        def with_values(**values: Any) -> None:
            own_values = {parameter.name: values.pop(parameter.name) for parameter in own}
            command(kind(**values), **own_values)

        return with_signature(with_values, [*own, *shared])

    return decorate


@contextmanager
def open_client(options: TalkOptions) -> Iterator[tuple[BlockingClient, str]]:
    """Yield a client, and the name of the model to ask.

    Without an address, the command itself serves models that are files or directories here, and any model with the
    command's own MCP servers.

    Raises:
        ModelhostError: the named host does not answer, or the model cannot be started.
    """
    options.request()  # raises before anything is started
    host = _running_host(options.model, options.url, options.api_key, options.mcp_config)
    if host is not None:
        yield host, options.model or first_model(host)
        return
    console.note(f"no host is running; starting {options.model or 'the bundled model'}")
    with lazy.own_model.own_model(options.model, mcp_config=options.mcp_config, has_tools=not options.no_tools) as own:
        yield own, first_model(own)


@contextmanager
def open_for_sound(
    options: SoundOptions, *, default: str | None = None
) -> Iterator[tuple[BlockingClient, dict[str, str]]]:
    """Yield a client, and the fields of a request that select the model.

    Without an address, the command serves a model itself, as in :func:`open_client`: without one in ``options``,
    ``default``, or else what is configured.

    Raises:
        ModelhostError: as :func:`open_client` does.
    """
    host = _running_host(options.model, options.url, options.api_key)
    if host is not None:
        yield host, {} if options.model is None else {"model": options.model}
        return
    own_name = options.model or default
    console.note(f"no host is running; starting {own_name or 'one for this command'}")
    with lazy.own_model.own_model(own_name, has_tools=False) as own:
        yield own, {}


def _running_host(
    model: str | None, url: str | None, api_key: str | None, mcp_config: Path | None = None
) -> RunningHost | None:
    named = named_host(url, api_key)
    if named.url:
        if mcp_config is not None:
            raise ConfigError(
                f"--mcp-config is for a model that is started here, and --url (or {URL_VARIABLE}) names a host, which "
                "has servers of its own; give one of them"
            )
        return RunningHost(named.url, named.api_key)
    if mcp_config is not None:
        return None
    if model is not None and expand_home(model).exists():
        return None
    local = RunningHost(DEFAULT_URL, named.api_key)
    return local if local.is_modelhost() else None


def first_model(client: BlockingClient) -> str:
    """Return the main model, or an empty name, with which the host reports what is wrong."""
    return next(iter(client.models()), "")
