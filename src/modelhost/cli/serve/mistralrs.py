"""mistral.rs's commands for kinds of models; each serves its model as ``modelhost serve`` does.

https://github.com/EricLBuehler/mistral.rs
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import typer

from modelhost.cli.serve.command import serve
from modelhost.cli.signature import option, with_signature
from modelhost.config.paths import expand_home
from modelhost.errors import ConfigError

OFFLOADED: Final = "flux-offloaded"
NOT_HERE: Final = ("model", "hub_id", "local_path", "smallest", "inventory")
"""Options of ``serve`` that name its model; these commands have their own."""
REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost --port 1234 gguf -m ./models -f model.gguf\n"
    "  modelhost --port 1234 --mcp-config mcp.json gguf -m Qwen/Qwen3-4B-GGUF -f Qwen3-4B-Q4_K_M.gguf\n"
    "  modelhost --mcp-port 4321 plain -m Qwen/Qwen3-4B\n"
    "  modelhost plain -m Qwen/Qwen3-4B --isq Q4K\n"
    "  modelhost speech -m hibari\n"
    "  modelhost diffusion -m ./flux\n"
    "  modelhost -i run -m Qwen/Qwen3-4B\n\n"
    "The options are those of modelhost serve, before the word or after it."
)

app = typer.Typer(add_completion=False)


def any_model(model: str) -> str:
    """Return the model of ``-m`` as ``modelhost serve`` takes it."""
    return model


def gguf_model(model: str, file: str | None) -> str:
    """Return the model of ``-m`` and ``-f``: a file in a local directory or in a repository of the hub."""
    if file is None:
        return model
    is_repository = REPOSITORY.fullmatch(model) and not expand_home(model).exists()
    return f"{model}:{file}" if is_repository else f"{model.rstrip('/')}/{file}"


def plain_model(model: str) -> str:
    """Return the model of ``-m``; in a repository of the hub the safetensors, even if there are GGUF files."""
    is_repository = REPOSITORY.fullmatch(model) and not expand_home(model).exists()
    return f"{model}:safetensors" if is_repository else model


def image_model(model: str, arch: str | None) -> str:
    """Return the model of ``-m``; its files say which architecture it has.

    Raises:
        ConfigError: ``arch`` asks for offloading, which is an option of the engine.
    """
    if arch == OFFLOADED:
        raise ConfigError(f"-a {OFFLOADED}: on a GPU, give --engine-option offload=sequential instead")
    return model


def _form(name: str, model_of: Callable[..., str], own: Sequence[inspect.Parameter], help_text: str) -> None:
    shared = [each for each in inspect.signature(serve).parameters.values() if each.name not in NOT_HERE]

    def form(**values: Any) -> None:
        model = model_of(**{each.name: values.pop(each.name) for each in own})
        serve(model=model, hub_id=None, local_path=None, smallest=False, inventory=None, **values)

    app.command(name, help=help_text, epilog=EXAMPLES)(with_signature(form, [*own, *shared]))


def _model_option(help_text: str, *names: str) -> inspect.Parameter:
    info = typer.Option(..., "-m", *names, metavar="MODEL", help=help_text, rich_help_panel="Model")
    return option("model", str, info)


_FILE: Final = option(
    "file",
    str | None,
    typer.Option(
        None,
        "-f",
        "--quantized-filename",
        metavar="FILE",
        help="The GGUF file in MODEL; for a split model, the first part. Default: the same choice as modelhost serve.",
        show_default=False,
        rich_help_panel="Model",
    ),
)
_ARCH: Final = option(
    "arch",
    Literal["flux", "flux-offloaded"] | None,
    typer.Option(
        None,
        "-a",
        "--arch",
        help="flux is accepted, without effect: the files of MODEL say it. For flux-offloaded, give "
        "--engine-option offload=sequential instead.",
        show_default=False,
        rich_help_panel="Model",
    ),
)
_form(
    "run",
    any_model,
    [_model_option("A file, a directory or a hub id, as modelhost serve takes it.", "--model-id")],
    "Serve a text model, like mistral.rs's run: the format and the engine are detected.",
)
_form(
    "plain",
    plain_model,
    [_model_option("A directory with safetensors, or a hub id.", "--model-id")],
    "Serve a model in safetensors, like mistral.rs's plain.",
)
_form(
    "gguf",
    gguf_model,
    [_model_option("A directory, or a hub id.", "--quantized-model-id", "--model-id"), _FILE],
    "Serve a model in GGUF, like mistral.rs's gguf.",
)
_form(
    "speech",
    any_model,
    [_model_option("A directory with a voice, or a voice in a package: hibari.", "--model-id")],
    "Serve a model that speaks, like mistral.rs's speech.",
)
_form(
    "diffusion",
    image_model,
    [_model_option("A directory with a pipeline for diffusers, or a hub id.", "--model-id"), _ARCH],
    "Serve a model that makes images, like mistral.rs's diffusion.",
)
