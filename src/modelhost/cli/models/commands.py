"""``modelhost models``: the models on this machine (scan, pull, list, show, rm), and those of a running host."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from modelhost.cli import console
from modelhost.cli.models.downloads import showing_download
from modelhost.cli.models.status import amount, follow_load, print_table, watch
from modelhost.cli.operation_options import takes
from modelhost.cli.running_host import (
    AsJson,
    Key,
    RunningHost,
    Url,
    json_or_text,
    key_and_value,
    print_json,
    running_host,
)
from modelhost.config.paths import at_home
from modelhost.errors import ConfigError, ModelFileInvalid
from modelhost.operations.model_loading import (
    CONFIGURE,
    LOAD,
    SELECT,
    UNLOAD,
    ConfigParameters,
    LoadParameters,
    UnloadParameters,
)
from modelhost.operations.models import STATUS, OneModel
from modelhost.operations.operation import AnyOperation, NoParameters

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of the host, by its name or an alias.")]


def status(
    is_watching: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the host's whole answer as JSON; with --watch an event a line.")
    ] = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    remote = running_host(url, api_key)
    if is_watching:
        watch(remote, as_json=as_json)
        return
    report = remote.call(STATUS, NoParameters())
    if as_json:
        print_json(report)
    else:
        print_table(report)


@takes(LOAD, argument="model_id")
def load(remote: RunningHost, asked: LoadParameters, as_json: bool) -> None:
    with showing_download() as on_progress:
        answer = remote.call(LOAD, asked.model_copy(update={"wait": False}), on_progress)
    if asked.wait and answer.status != "loaded":
        follow_load(remote, answer)
        # With its configuration once more: without, it would be another load.
        answer = remote.call(LOAD, asked.model_copy(update={"model_id": answer.model_id}))
    if as_json:
        print_json(answer)
        return
    details = [answer.state.value, f"place {answer.position} in the queue" if answer.position else ""]
    if answer.status == "loading":
        seconds, need = answer.estimated_load_time, answer.memory_required_mb
        details += ["" if seconds is None else f"about {math.ceil(seconds)} s", "" if need is None else amount(need)]
    typer.echo(f"{answer.model_id}: {', '.join(filter(None, details))}")


def unload(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Cut off the requests that it works on.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    answer = running_host(url, api_key).call(UNLOAD, UnloadParameters(model_id=name, force=force))
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{answer.model_id}: {answer.status}, {amount(answer.memory_freed_mb)} freed")


def select(name: Name, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    answer = running_host(url, api_key).call(SELECT, OneModel(model_id=name))
    if as_json:
        print_json(answer)
        return
    waiting = f", {answer.queue_length} waiting" if answer.queue_length else ""
    typer.echo(f"{answer.model}: {answer.status.replace('_', ' ')}{waiting}")


def set_config(
    name: Name,
    values: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="Such as `temperature=0.7`; `KEY=null` takes a default away."),
    ],
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    config = {key: json_or_text(value) for key, value in map(key_and_value, values)}
    parameters: ConfigParameters = CONFIGURE.parse({"model_id": name, "config": config})
    answer = running_host(url, api_key).call(CONFIGURE, parameters)
    if as_json:
        print_json(answer)
        return
    for key, value in answer.updated_config.items():
        typer.echo(f"{key}={json.dumps(value, ensure_ascii=False)}")
    if not answer.updated_config:
        console.note(f"{answer.model_id} has no defaults of its own")


def model_examples(*lines: str) -> str:
    return "\n".join(["Examples:", *(f"  modelhost models {line}" for line in lines)])


REMOTE_COMMANDS: Final[tuple[tuple[AnyOperation, Callable[..., None], str], ...]] = (
    (STATUS, status, model_examples("status", "status --watch", "status --json --url http://gpu-box:8000")),
    (
        LOAD,
        load,
        model_examples(
            "load qwen",
            "load qwen --wait",
            "load Qwen/Qwen3-4B-GGUF:Q4_K_M --wait",
            "load qwen --max-model-len 8192 --wait",
            "load qwen --dtype bfloat16 --persist",
        ),
    ),
    (UNLOAD, unload, model_examples("unload qwen", "unload qwen --force")),
    (SELECT, select, model_examples("select qwen")),
    (CONFIGURE, set_config, model_examples("set qwen temperature=0.7 max_tokens=500", "set qwen temperature=null")),
)


def add_remote_commands(models_app: typer.Typer) -> None:
    """Add them, each under the name and with the summary of its operation."""
    for operation, command, examples in REMOTE_COMMANDS:
        models_app.command(operation.command, help=f"{operation.summary}.", epilog=examples)(command)


# What reads models is imported by the commands that need it: `--help` and the commands for a host do not.
INVENTORY: Final = "MODEL_INVENTORY.json"
AsJsonTable = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def scan(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Where to look, with all below.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(INVENTORY),
    context: Annotated[
        int | None,
        typer.Option("--context", min=1, metavar="N", help="Tokens to estimate memory for. Default: at most 4096."),
    ] = None,
    as_json: AsJsonTable = False,
) -> None:
    """Find the models below directories and write what their headers say to MODEL_INVENTORY.json."""
    from modelhost.cli.models.known import configured  # noqa: PLC0415
    from modelhost.cli.models.tables import inventory_table, print_plain, scan_progress  # noqa: PLC0415
    from modelhost.config.directories import data_directory  # noqa: PLC0415
    from modelhost.models.resolve import inventory, inventory_file  # noqa: PLC0415

    with scan_progress() as on_progress:
        found = inventory.scan(
            [at_home(directory) for directory in directories],
            context_length=context,
            on_progress=on_progress,
            data_dir=data_directory(configured()),
        )
    inventory_file.write_inventory(output, found)
    for problem in found.problems:
        console.warning(problem)
    if as_json:
        typer.echo(output.read_text(encoding="utf-8"), nl=False)
    else:
        print_plain(inventory_table(found.entries))
        usable = sum(entry.is_usable for entry in found.entries)
        console.note(f"{len(found.entries)} models, {usable} usable; written to {output}")


def pull(
    reference: Annotated[str, typer.Argument(metavar="ORG/NAME[:QUANT]", help="A repository of the hub.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit. Default: main.")] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="A host that is to download it, and to have it among its models. Default: none."),
    ] = None,
    api_key: Key = None,
) -> None:
    """Download a model from the Hugging Face hub and print where it is.

    A download that broke off goes on where it stopped, and every file is verified. What is here already is checked
    against the hub. HF_TOKEN opens gated models; with --url, the one in the environment of that host does.
    """
    if url is not None:
        _pull_at(running_host(url, api_key), reference, revision)
        return
    from modelhost.cli.models.known import configured  # noqa: PLC0415
    from modelhost.cli.serve.starting import start_display  # noqa: PLC0415
    from modelhost.models.hub.cache import is_offline  # noqa: PLC0415
    from modelhost.models.hub.download import download  # noqa: PLC0415
    from modelhost.models.hub.references import parse_reference  # noqa: PLC0415
    from modelhost.models.resolve.engine_choice import default_engine_for  # noqa: PLC0415
    from modelhost.models.resolve.inventory import inspect  # noqa: PLC0415

    wanted = parse_reference(reference, revision)
    if wanted is None:
        raise ConfigError(
            f'"{reference}" is not the name of a model on the hub; it looks like Qwen/Qwen3-4B-GGUF:Q4_K_M'
        )
    with start_display() as display:
        runs_it = partial(default_engine_for, settings=configured(), what=wanted.repository)
        path = download(wanted, display.downloading, refresh=not is_offline(), on_format=runs_it)
    found = inspect(path)
    console.note(f"{wanted}: {found.quantization}, {found.size_bytes / 1e6:,.1f} MB")
    typer.echo(path)


def _pull_at(remote: RunningHost, reference: str, revision: str | None) -> None:
    from modelhost.cli.models.downloads import showing_download  # noqa: PLC0415
    from modelhost.operations.model_loading import PULL, PullParameters  # noqa: PLC0415

    with showing_download() as on_progress:
        pulled = remote.call(PULL, PullParameters(model=reference, revision=revision), on_progress)
    console.note(f"{pulled.model_id} is one of the models of {remote.url}")
    typer.echo(pulled.path)


def list_models(as_json: AsJsonTable = False) -> None:
    """List the models of models.yaml, of MODEL_INVENTORY.json and of the hub's cache, and the bundled one."""
    from modelhost.cli.models.known import all_models  # noqa: PLC0415
    from modelhost.cli.models.tables import models_table, print_plain  # noqa: PLC0415

    models = all_models()
    if as_json:
        typer.echo(json.dumps([model.as_json() for model in models], indent=2, ensure_ascii=False))
    else:
        print_plain(models_table(models))


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name that `models list` prints, or a file or directory.")
    ],
    as_json: AsJsonTable = False,
) -> None:
    """Show what the header of a model says, and the memory that it needs for several contexts.

    The exit status is 1 if the model cannot be used here.
    """
    from modelhost.cli.models.known import path_of  # noqa: PLC0415
    from modelhost.cli.models.tables import facts_of, print_facts  # noqa: PLC0415

    facts = facts_of(path_of(name))
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print_facts(facts)
    if not facts["is_usable"]:
        console.error(facts["why_not"])
        raise typer.Exit(1)


def rm(
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="A downloaded model, as `models list` prints it.")],
    is_sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a downloaded model, all of its files and versions, from the cache of the hub.

    Files outside the cache are never touched.
    """
    from modelhost.models.hub.cache import cached_folder, disk_bytes, remove_repository  # noqa: PLC0415

    if at_home(name).exists():
        raise ModelFileInvalid(
            f"{name} is not in the hub's cache: only downloaded models are removed, delete it yourself"
        )
    folder = cached_folder(name)
    if not is_sure:
        typer.confirm(f"Delete {folder} ({disk_bytes(folder) / 1e6:,.1f} MB)?", abort=True)
    freed_bytes = remove_repository(name)
    typer.echo(f"{name} is removed; {freed_bytes / 1e6:,.1f} MB are free again")


LOCAL_COMMANDS: Final[tuple[tuple[str, Callable[..., None], str], ...]] = (
    ("scan", scan, model_examples("scan ~/models", "scan /data/models ~/.cache/huggingface --context 8192 --json")),
    (
        "pull",
        pull,
        model_examples(
            "pull Qwen/Qwen3-4B-GGUF",
            "pull Qwen/Qwen3-4B-GGUF:Q8_0 --revision main",
            "pull Qwen/Qwen3-4B-GGUF --url http://gpu-box:8000",
        ),
    ),
    ("list", list_models, model_examples("list", "list --json")),
    ("show", show, model_examples("show modelhost-nano", "show ./model.gguf --json")),
    ("rm", rm, model_examples("rm Qwen/Qwen3-4B-GGUF", "rm Qwen/Qwen3-4B-GGUF --yes")),
)


def add_local_commands(models_app: typer.Typer) -> None:
    """Add them."""
    for name, command, examples in LOCAL_COMMANDS:
        models_app.command(name, epilog=examples)(command)


app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Find, download, show and remove models; control a running host's."
)
add_local_commands(app)
add_remote_commands(app)
