"""The commands of ``modelhost models`` that talk to a running host."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Annotated, Final

import typer

from modelhost.cli import console
from modelhost.cli.answerer import RunningHost
from modelhost.cli.host_downloads import showing_download
from modelhost.cli.loading import follow_load
from modelhost.cli.models_shown import amount, print_table, watch
from modelhost.cli.operation_options import takes
from modelhost.cli.running_host import AsJson, Key, Url, json_or_text, key_and_value, print_json, running_host
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
