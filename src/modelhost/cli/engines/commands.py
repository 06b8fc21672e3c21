"""``modelhost engines``: what runs models here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.config import environment
from modelhost.config.directories import data_directory
from modelhost.config.sources import load
from modelhost.engines.traits import Build

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="The data directory of the host. Default: the host's own."),
]

app = typer.Typer(add_completion=False, help="List and install the engines that run models.", no_args_is_help=True)


def _installable(engine: str) -> str:
    lazy.engine_installation.check_installable(engine)
    return engine


def _index_url(wheels: str | None) -> str | None:
    if wheels is not None and not wheels.startswith(("http://", "https://", "file:///")):
        raise typer.BadParameter(f'"{wheels}" is no URL of an index: it begins with https://, http:// or file:///')
    return wheels


@app.command("list", epilog="Examples:\n  modelhost engines list\n  modelhost engines list --json")
def list_engines(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the engines: versions, locations, capabilities, missing engines, and possible improvements."""
    engines = lazy.engine_advice.engines_here(_data_directory(data_dir))
    if as_json:
        console.print_json([asdict(engine) for engine in engines])
    else:
        lazy.engine_advice.print_engines(engines)


@app.command(
    "install",
    epilog="Examples:\n  modelhost engines install llamacpp\n  modelhost engines install llamacpp --build native\n"
    "  modelhost engines install mistralrs\n  modelhost engines install speech --voice hibari\n"
    "  PIP_INDEX_URL=https://mirror/simple modelhost engines install vllm",
)
def install_engine(  # noqa: PLR0913, PLR0917 (each is an option of the command)
    engine: Annotated[
        str,
        typer.Argument(
            metavar="ENGINE",
            callback=_installable,
            help="llamacpp, diffusers, mistralrs, speech, vllm or whisper. Without an NVIDIA GPU, vllm is its build "
            "for CPUs.",
        ),
    ],
    build: Annotated[
        Build | None,
        typer.Option("--build", help="llamacpp: the target of the build. Default: the best for this machine."),
    ] = None,
    wheels: Annotated[
        str | None,
        typer.Option(
            "--wheels",
            metavar="URL",
            callback=_index_url,
            help="llamacpp: the index with wheels for accelerators, which are preferred if they work. "
            "Default: the index of the wheel's project.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="llamacpp: build it again, even if this machine's build is here already.")
    ] = False,
    voice: Annotated[
        str | None,
        typer.Option("--voice", metavar="NAME", help="speech: a voice to install with it: hibari (English, 14 MB)."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Install an engine into a separate environment, where every host with this data directory finds it.

    A model uses it with `--engine`, or automatically if no installed engine suits its format better. An existing
    environment is replaced. pip downloads the packages, according to its own configuration and variables. The other
    engines are installed into modelhost's own environment; `modelhost engines list` shows how.

    llamacpp is installed with modelhost, as a wheel that runs on every machine. This command builds it for this one:
    its processor or its GPU. That needs a C++ compiler and takes minutes; run the command again to resume an
    interrupted build. The build is used after it has passed a check against the wheel; if it cannot run later, the
    wheel is used. A build that is slower than the wheel is used only if --build names it. If this machine's build is
    here already, nothing is done without --force.
    """
    if voice is not None and engine != "speech":
        raise typer.BadParameter(f"--voice is for speech; {engine} has no voices")
    if lazy.engine_installation.has_builds(engine):
        lazy.engine_installation.install_llamacpp(build, _data_directory(data_dir), wheels, force=force)
        return
    if build is not None or wheels is not None or force:
        raise typer.BadParameter(f"--build, --wheels and --force are for llamacpp; {engine} has one build")
    lazy.engine_installation.install_environment(engine, _data_directory(data_dir), voice)


def _data_directory(given: Path | None) -> Path:
    flags = {} if given is None else {"data_dir": str(given)}
    return data_directory(load(flags, config_path=None, environ=environment.current(), cwd=Path.cwd()).settings)
