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
from modelhost.engines.llamacpp.machine import Build

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="The data directory of the host. Default: as the host has it."),
]

app = typer.Typer(add_completion=False, help="The engines that run models on this machine.", no_args_is_help=True)


def _installable(engine: str) -> str:
    lazy.engine_installation.check_installable(engine)
    return engine


@app.command("list", epilog="Examples:\n  modelhost engines list\n  modelhost engines list --json")
def list_engines(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the engines: which are installed, where, what they can do, what is missing, and what could be better."""
    engines = lazy.engine_advice.engines_here(_data_directory(data_dir))
    if as_json:
        console.print_json([asdict(engine) for engine in engines])
    else:
        lazy.engine_advice.print_engines(engines)


@app.command(
    "install",
    epilog="Examples:\n  modelhost engines install llamacpp\n  modelhost engines install llamacpp --build native\n"
    "  modelhost engines install mistralrs\n  PIP_INDEX_URL=https://mirror/simple modelhost engines install vllm",
)
def install_engine(
    engine: Annotated[
        str,
        typer.Argument(
            metavar="ENGINE",
            callback=_installable,
            help="llamacpp, mistralrs or vllm; that is vLLM's build for CPUs where there is no GPU of NVIDIA's.",
        ),
    ],
    build: Annotated[
        Build | None,
        typer.Option("--build", help="llamacpp: what it is built for. Default: the best for this machine."),
    ] = None,
    wheels: Annotated[
        str | None,
        typer.Option(
            "--wheels",
            metavar="URL",
            help="llamacpp: where wheels for accelerators are, which are taken if they work. Default: the index of the "
            "wheel's project.",
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Install an engine into an environment of its own, where every host of this data directory finds it.

    A model gets it by `--engine`, or by itself where nothing that suits its format better is installed. An environment
    that is there already is made anew. pip downloads what it needs, and goes by its own configuration and variables.
    The other engines go into the Python of modelhost itself; `modelhost engines list` says how.

    llamacpp is there from the start, as a wheel that runs on every machine. Here it is built for this one: its
    processor or its GPU. That needs a C++ compiler and takes minutes; what was interrupted goes on with the same
    command. The build is used once it has passed a check beside the wheel; where it cannot run later, the wheel is.
    """
    if lazy.engine_installation.has_builds(engine):
        lazy.engine_installation.install_llamacpp(build, _data_directory(data_dir), wheels)
        return
    if build is not None or wheels is not None:
        raise typer.BadParameter(f"--build and --wheels are for llamacpp; {engine} has one build")
    lazy.engine_installation.install_environment(engine, _data_directory(data_dir))


def _data_directory(given: Path | None) -> Path:
    flags = {} if given is None else {"data_dir": str(given)}
    return data_directory(load(flags, config_path=None, environ=environment.current(), cwd=Path.cwd()).settings)
