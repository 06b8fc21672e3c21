"""Finds what commands talk to: the named host, one on this machine, or a model of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelhost import lazy
from modelhost.cli import console
from modelhost.cli.running_host import BlockingClient, RunningHost, named_host
from modelhost.cli.talk.options import SoundOptions, TalkOptions
from modelhost.client.address import DEFAULT_URL
from modelhost.config.environment import URL_VARIABLE
from modelhost.config.paths import expand_home
from modelhost.errors import ConfigError


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
