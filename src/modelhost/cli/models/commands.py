"""``modelhost models``: the models on this machine (scan, pull, list, show, rm), and those of a running host."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from modelhost import lazy
from modelhost.cli import console
from modelhost.cli.models.smallest import DEFAULT_INVENTORY
from modelhost.cli.models.status import follow_load, format_memory, print_status, show_download, watch
from modelhost.cli.operation_commands import Command, add_commands, examples, operation_command, print_result
from modelhost.cli.running_host import AsJson, Key, RunningHost, Url, parse_json_or_text, parse_key_value, running_host
from modelhost.operations import model_loading
from modelhost.operations.models import STATUS, OneModel
from modelhost.operations.operation import NoParameters

AsJsonTable = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of the host: its name or an alias.")]

# The models on this machine.


def scan(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Directories to search, including subdirectories.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = DEFAULT_INVENTORY,
    context: Annotated[
        int | None,
        typer.Option(
            "--context", min=1, metavar="N", help="Context length for the memory estimate. Default: at most 4096."
        ),
    ] = None,
    as_json: AsJsonTable = False,
) -> None:
    """Find the models below directories and write their headers to MODEL_INVENTORY.json."""
    lazy.local_models.scan(directories, output, context, as_json=as_json)


def pull(
    reference: Annotated[str, typer.Argument(metavar="ORG/NAME[:QUANT]", help="A repository of the hub.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit. Default: main.")] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            help="A running host that downloads the model and adds it to its models. Default: "
            "download to this machine.",
        ),
    ] = None,
    api_key: Key = None,
) -> None:
    """Download a model from the Hugging Face hub and print its path.

    An interrupted download resumes where it stopped, and every file is verified. Files that exist already are checked
    against the hub. HF_TOKEN gives access to gated models; with --url, the HF_TOKEN in that host's environment does.
    """
    if url is None:
        lazy.local_models.pull(reference, revision)
        return
    remote = running_host(url, api_key)
    with show_download() as on_progress:
        pulled = remote.call(
            model_loading.PULL, model_loading.PullParameters(model=reference, revision=revision), on_progress
        )
    console.note(f"{pulled.model_id} is one of the models of {remote.url}")
    typer.echo(pulled.path)


def list_models(as_json: AsJsonTable = False) -> None:
    """List the models of models.yaml, the inventory, the hub's cache, Ollama and LM Studio, and the bundled one."""
    models = lazy.known_models.all_models()
    if as_json:
        console.print_json([model.as_json() for model in models])
    else:
        lazy.local_models.print_models(models)


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `models list`, or a file or directory.")],
    as_json: AsJsonTable = False,
) -> None:
    """Show the header of a model, and the memory that it needs for several contexts.

    The exit status is 1 if the model cannot be used here.
    """
    facts = lazy.local_models.collect_facts(lazy.known_models.find_path(name))
    if as_json:
        console.print_json(facts)
    else:
        lazy.local_models.print_facts(facts)
    if not facts["is_usable"]:
        console.error(facts["why_not"])
        raise typer.Exit(1)


def rm(
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="A downloaded model, as shown by `models list`.")],
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove a downloaded model, with all of its files and versions, from the hub's cache.

    Files outside the cache are never changed.
    """
    lazy.local_models.remove(name, is_sure=is_sure)


# The models of a running host.


def status(
    is_watching: Annotated[bool, typer.Option("--watch", "-w", help="Continue until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the host's complete answer as JSON; with --watch, one event per line.")
    ] = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    remote = running_host(url, api_key)
    if is_watching:
        watch(remote, as_json=as_json)
    else:
        print_result(remote.call(STATUS, NoParameters()), print_status, as_json=as_json)


@operation_command(model_loading.LOAD, argument="model_id")
def load(remote: RunningHost, parameters: model_loading.LoadParameters, as_json: bool) -> None:
    with show_download() as on_progress:
        answer = remote.call(model_loading.LOAD, parameters.model_copy(update={"wait": False}), on_progress)
    if parameters.wait and answer.status != "loaded":
        follow_load(remote, answer)
        # With its configuration once more: without, it would be another load.
        answer = remote.call(model_loading.LOAD, parameters.model_copy(update={"model_id": answer.model_id}))
    print_result(answer, _print_load, as_json=as_json)


def _print_load(answer: model_loading.Loading) -> None:
    details = [answer.state.value, f"place {answer.position} in the queue" if answer.position else ""]
    if answer.status == "loading":
        seconds, need = answer.estimated_load_time, answer.memory_required_mb
        details += [
            "" if seconds is None else f"about {math.ceil(seconds)} s",
            "" if need is None else format_memory(need),
        ]
    typer.echo(f"{answer.model_id}: {', '.join(filter(None, details))}")


def unload(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Cancel its requests.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    answer = running_host(url, api_key).call(
        model_loading.UNLOAD, model_loading.UnloadParameters(model_id=name, force=force)
    )
    print_result(answer, _print_unload, as_json=as_json)


def _print_unload(answer: model_loading.Unloading) -> None:
    typer.echo(f"{answer.model_id}: {answer.status}, {format_memory(answer.memory_freed_mb)} freed")


def select(name: Name, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    print_result(
        running_host(url, api_key).call(model_loading.SELECT, OneModel(model_id=name)),
        _print_selection,
        as_json=as_json,
    )


def _print_selection(answer: model_loading.Selection) -> None:
    waiting = f", {answer.queue_length} waiting" if answer.queue_length else ""
    typer.echo(f"{answer.model}: {answer.status.replace('_', ' ')}{waiting}")


def set_config(
    name: Name,
    values: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="For example `temperature=0.7`; `KEY=null` removes a default."),
    ],
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    config = {key: parse_json_or_text(value) for key, value in map(parse_key_value, values)}
    parameters: model_loading.ConfigParameters = model_loading.CONFIGURE.parse({"model_id": name, "config": config})
    print_result(running_host(url, api_key).call(model_loading.CONFIGURE, parameters), _print_config, as_json=as_json)


def _print_config(answer: model_loading.Configuration) -> None:
    for key, value in answer.updated_config.items():
        typer.echo(f"{key}={json.dumps(value, ensure_ascii=False)}")
    if not answer.updated_config:
        console.note(f"{answer.model_id} has no request defaults")


LOCAL_COMMANDS: Final[tuple[tuple[str, Callable[..., None], tuple[str, ...]], ...]] = (
    ("scan", scan, ("scan ~/models", "scan /data/models ~/.cache/huggingface --context 8192 --json")),
    (
        "pull",
        pull,
        (
            "pull Qwen/Qwen3-4B-GGUF",
            "pull Qwen/Qwen3-4B-GGUF:Q8_0 --revision main",
            "pull Qwen/Qwen3-4B-GGUF --url http://gpu-box:8000",
        ),
    ),
    ("list", list_models, ("list", "list --json")),
    ("show", show, ("show modelhost-nano", "show ./model.gguf --json")),
    ("rm", rm, ("rm Qwen/Qwen3-4B-GGUF", "rm Qwen/Qwen3-4B-GGUF --yes")),
)
COMMANDS: Final[tuple[Command, ...]] = (
    (STATUS, status, ("status", "status --watch", "status --json --url http://gpu-box:8000")),
    (
        model_loading.LOAD,
        load,
        (
            "load qwen",
            "load qwen --wait",
            "load Qwen/Qwen3-4B-GGUF:Q4_K_M --wait",
            "load qwen --max-model-len 8192 --wait",
            "load qwen --dtype bfloat16 --persist",
        ),
    ),
    (model_loading.UNLOAD, unload, ("unload qwen", "unload qwen --force")),
    (model_loading.SELECT, select, ("select qwen",)),
    (model_loading.CONFIGURE, set_config, ("set qwen temperature=0.7 max_tokens=500", "set qwen temperature=null")),
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Find, download, show and remove models, and control those of a running host.",
)
for _name, _command, _lines in LOCAL_COMMANDS:
    app.command(_name, epilog=examples("models", *_lines))(_command)
add_commands(app, "models", COMMANDS)
