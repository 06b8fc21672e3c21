"""What the commands that ask a running host share: how it is named, and how values are typed and printed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from modelhost import json_text
from modelhost.cli.answerer import RunningHost
from modelhost.cli.named_host import named_host
from modelhost.client.address import DEFAULT_URL
from modelhost.config.environment import KEY_VARIABLE, URL_VARIABLE
from modelhost.operations.operation import Result

Url = Annotated[str | None, typer.Option("--url", help=f"The host. Default: {URL_VARIABLE}, or {DEFAULT_URL}.")]
Key = Annotated[str | None, typer.Option("--api-key", help=f"Key for the host. Default: {KEY_VARIABLE}.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the host's whole answer as JSON.")]


def running_host(url: str | None, api_key: str | None) -> RunningHost:
    """The host that the options, or the environment, name.

    Raises:
        ConfigError: not an HTTP address.
    """
    named = named_host(url, api_key)
    return RunningHost(named.url or DEFAULT_URL, named.api_key)


def key_and_value(text: str) -> tuple[str, str]:
    """The two sides of ``KEY=VALUE``.

    Raises:
        typer.BadParameter: there is no ``=``.
    """
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise typer.BadParameter(f'"{text}" is not KEY=VALUE, such as temperature=0.7')
    return key, value


def json_or_text(value: str) -> Any:
    """``value`` as JSON; what is no JSON is text."""
    try:
        return json_text.decoded(value)
    except ValueError:
        return value


def print_json(result: Result) -> None:
    """Print an answer on standard output."""
    typer.echo(json.dumps(result.model_dump(mode="json"), indent=2, ensure_ascii=False))
