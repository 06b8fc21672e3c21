"""``modelhost engines``: what runs models here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from modelhost.cli import console
from modelhost.engines.llamacpp.machine import Build

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="The data directory of the host. Default: as the host has it."),
]

app = typer.Typer(add_completion=False, help="The engines that run models on this machine.", no_args_is_help=True)


def _installable(engine: str) -> str:
    """Return ``engine`` if it can have an environment of its own; otherwise say how it is had, if it is one."""
    from modelhost.engines import TRAITS  # noqa: PLC0415 (`--help` does not need them)
    from modelhost.engines.installed import how_to_install  # noqa: PLC0415

    if engine not in TRAITS:
        raise typer.BadParameter(f"{engine} is no engine; there are {', '.join(TRAITS)}")
    installation = TRAITS[engine].installation
    if installation.builds is not None or installation.environment is not None:
        return engine
    if not installation.modules:
        raise typer.BadParameter(f"{engine} is built in")
    raise typer.BadParameter(f"{engine} lives in the Python of modelhost itself: {how_to_install(engine)}")


@app.command("list", epilog="Examples:\n  modelhost engines list\n  modelhost engines list --json")
def list_engines(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the engines: which are installed, where, what they can do, what is missing, and what could be better."""
    from modelhost.cli.engines.advice import engines_table, remarks, with_advice  # noqa: PLC0415
    from modelhost.cli.models.tables import print_plain  # noqa: PLC0415
    from modelhost.engines.installed import engine_facts  # noqa: PLC0415

    engines = with_advice(engine_facts(_data_directory(data_dir)))
    if as_json:
        typer.echo(json.dumps([asdict(engine) for engine in engines], indent=2))
    else:
        print_plain(engines_table(engines))
        for remark in remarks(engines):
            typer.echo(f"\n{remark}")


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
    from modelhost.engines import TRAITS  # noqa: PLC0415 (`--help` does not need them)

    if TRAITS[engine].installation.builds is not None:
        from modelhost.cli.engines.install_llamacpp import install_llamacpp  # noqa: PLC0415 (brings the hub's library)
        from modelhost.engines.llamacpp.build import WHEELS  # noqa: PLC0415

        install_llamacpp(build, _data_directory(data_dir), wheels or WHEELS)
        return
    if build is not None or wheels is not None:
        raise typer.BadParameter(f"--build and --wheels are for llamacpp; {engine} has one build")
    from modelhost.engines.environments import install, version_of  # noqa: PLC0415
    from modelhost.engines.installed import recipe_for  # noqa: PLC0415
    from modelhost.workers.gpus import gpus  # noqa: PLC0415

    folder = _data_directory(data_dir)
    python = install(engine, folder, recipe_for(engine, has_cuda=bool(gpus())), _report)
    console.note(f"{engine} {version_of(engine, folder)} is installed: {python.parents[1]}")


def _data_directory(given: Path | None) -> Path:
    from modelhost.config import environment  # noqa: PLC0415
    from modelhost.config.directories import data_directory  # noqa: PLC0415
    from modelhost.config.sources import load  # noqa: PLC0415

    flags = {} if given is None else {"data_dir": str(given)}
    return data_directory(load(flags, config_path=None, environ=environment.current(), cwd=Path.cwd()).settings)


def _report(line: str) -> None:
    """Show what is being fetched, a line each; pip says much more."""
    words = line.split()
    if words[:1] == ["Collecting"]:
        console.note(f"  {words[1]}")
