"""``modelhost config show`` and ``modelhost config check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from modelhost.cli import console
from modelhost.cli.serve.flags import find_other_choice, has_llm_server_file, with_settings
from modelhost.config import environment
from modelhost.config.fields import SETTINGS, display_text, masked
from modelhost.config.llm_server import LlmServerFile
from modelhost.config.sources import EffectiveConfig, load

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show and check the configuration.")


@app.command(
    "show",
    epilog="Examples:\n  modelhost config show\n  modelhost config show --port 9000 --json\n"
    "  MODELHOST_PORT=9000 modelhost config show",
)
@with_settings
def show(
    effective: EffectiveConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print every setting as `serve` would use it, and its source. API keys are masked."""
    if as_json:
        console.print_json(_as_json(effective))
    else:
        _print_table(effective)


@app.command("check", epilog="Examples:\n  modelhost config check\n  modelhost config check deploy/modelhost.yaml")
def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The file. Default: the file that `serve` would use.", show_default=False),
    ] = None,
) -> None:
    """Check a configuration file and the environment: print OK, or print all errors and exit with status 1."""
    environ, cwd = environment.current(), Path.cwd()
    is_llm_server = (
        file is None and has_llm_server_file(cwd) and find_other_choice({}, environ=environ, cwd=cwd) is None
    )
    effective = load({}, config_path=LlmServerFile() if is_llm_server else file, environ=environ, cwd=cwd)
    for warning in effective.warnings:
        console.warning(warning)
    given = sum(origin.kind != "default" for origin in effective.origins.values())
    typer.echo(f"OK: {effective.file or 'no configuration file'}, {given} of {len(SETTINGS)} settings given")


def _as_json(effective: EffectiveConfig) -> dict[str, Any]:
    values = {
        key: {"value": masked(getattr(effective.settings, key)), "origin": origin.kind, "from": origin.name or None}
        for key, origin in effective.origins.items()
    }
    return {"file": None if effective.file is None else str(effective.file), "settings": values}


def _print_table(effective: EffectiveConfig) -> None:
    table = console.new_table("Setting", "Value", "From")
    for key, origin in effective.origins.items():
        style = "dim" if origin.kind == "default" else ""
        console.add_row(table, key, display_text(getattr(effective.settings, key)), str(origin), style=style)
    console.print_table(table)
