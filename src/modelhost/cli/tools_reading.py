"""``modelhost tools resources``, ``resource``, ``prompts``, ``prompt``: what MCP servers have besides tools."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from modelhost.cli import console
from modelhost.cli.running_host import AsJson, key_and_value, print_json
from modelhost.cli.tools_shown import print_prompts, print_resources
from modelhost.cli.tools_target import Target, takes_target
from modelhost.operations.mcp_resources import (
    GET_PROMPT,
    LIST_PROMPTS,
    LIST_RESOURCES,
    READ_RESOURCE,
    PromptParameters,
    ResourceParameters,
    ResourceText,
)
from modelhost.operations.tools import OfServer

OfOne = Annotated[str | None, typer.Option("--server", help="Of this MCP server only.")]
Server = Annotated[str, typer.Argument(metavar="SERVER", help="An MCP server, by its name in `mcp.json`.")]


@takes_target
def resources(target: Target, server: OfOne = None, as_json: AsJson = False) -> None:
    found = target.call(LIST_RESOURCES, _of(server))
    if as_json:
        print_json(found)
    else:
        print_resources(found.data)
        _warn_of(found.errors)


@takes_target
def resource(
    target: Target,
    server: Server,
    uri: Annotated[str, typer.Argument(metavar="URI", help="Its address, as `modelhost tools resources` shows it.")],
    as_json: AsJson = False,
) -> None:
    found = target.call(READ_RESOURCE, ResourceParameters(server=server, uri=uri))
    if as_json:
        print_json(found)
        return
    for content in found.contents:
        _print_content(content)


@takes_target
def prompts(target: Target, server: OfOne = None, as_json: AsJson = False) -> None:
    found = target.call(LIST_PROMPTS, _of(server))
    if as_json:
        print_json(found)
    else:
        print_prompts(found.data)
        _warn_of(found.errors)


@takes_target
def prompt(
    target: Target,
    server: Server,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A prompt, as `modelhost tools prompts` shows it.")],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="What it has to be told.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    arguments = dict(key_and_value(text) for text in values or ())
    found = target.call(GET_PROMPT, PromptParameters(server=server, name=name, arguments=arguments))
    if as_json:
        print_json(found)
        return
    for message in found.messages:
        typer.echo(f"{message['role']}: {_text(message)}")


def _of(server: str | None) -> OfServer:
    return OfServer() if server is None else OfServer(server=server)


def _warn_of(errors: Mapping[str, str]) -> None:
    for server, error in errors.items():
        console.warning(f"{server}: {console.printable(error)}")


def _print_content(content: ResourceText) -> None:
    """Print text as it is; bytes too, unless they would go to a terminal."""
    if content.text is not None:
        typer.echo(content.text)
        return
    data = base64.b64decode(content.blob or "")
    if is_terminal():
        kind = console.printable(content.media_type or "unknown kind")
        console.note(f"{content.uri} is {len(data):,} bytes ({kind}): send the output to a file")
    else:
        typer.echo(data, nl=False)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def _text(message: Mapping[str, object]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or f"({part.get('type')})") for part in content)
    return str(content or "")
