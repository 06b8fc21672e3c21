"""``modelhost engines``: what runs models here."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

engines_app = typer.Typer(help="The engines that run models on this machine.", no_args_is_help=True)


@engines_app.command("list", epilog="Examples:\n  modelhost engines list\n  modelhost engines list --json")
def list_engines(as_json: AsJson = False) -> None:
    """List the engines: which are installed, where, what they can do, and what is missing."""
    from modelhost.cli.engines_shown import engines_table  # noqa: PLC0415
    from modelhost.cli.local_models_shown import print_plain  # noqa: PLC0415 (`--help` does not need them)
    from modelhost.engines.installed import engine_facts  # noqa: PLC0415

    engines = engine_facts()
    if as_json:
        typer.echo(json.dumps([asdict(engine) for engine in engines], indent=2))
    else:
        print_plain(engines_table(engines))
