"""``modelhost serve``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from modelhost import lazy, logs
from modelhost.cli import console
from modelhost.cli.serve.flags import with_settings
from modelhost.config.sources import EffectiveConfig
from modelhost.config.variables import DOTENV
from modelhost.errors import ConfigError
from modelhost.logs import get_logger

if TYPE_CHECKING:
    from modelhost.host import Host


def in_log_file(command: Callable[..., None]) -> Callable[..., None]:
    """Let ``command`` also write errors of the configuration to the log file that it names."""

    @functools.wraps(command)
    def noting(**values: Any) -> None:
        try:
            command(**values)
        except ConfigError as error:
            if path := error.details.get("log_file"):
                _note(path, error)
            raise

    return noting


def _note(path: str, error: ConfigError) -> None:
    with ExitStack() as opened:
        try:
            opened.enter_context(logs.log_to_file(path, "error"))
        except ConfigError as unwritable:
            console.warning(unwritable.message)
        else:
            logs.log_exit_reason(error)


log = get_logger(__name__)

EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost serve\n"
    "  modelhost serve ./model.gguf --alias small --port 9000\n"
    "  modelhost serve Qwen/Qwen3-4B-GGUF:Q4_K_M --context-length 8192 --api-key SECRET\n"
    "  modelhost serve ./model.gguf --engine-option server=/opt/llama.cpp/build/bin/llama-server\n"
    "  modelhost serve --smallest\n"
    "  modelhost serve --m Qwen/Qwen3-4B-GGUF --p 2000\n"
    "  modelhost --m Qwen/Qwen3-4B-GGUF --p 2000\n"
    "  modelhost serve Qwen/Qwen3-4B --isq Q4K\n"
    "  modelhost serve -i\n"
    "  modelhost serve --llm-server\n\n"
    "Without a command, options mean serve. Every option has a twin in the environment and in .env, as "
    "MODELHOST_QUEUE_SIZE for --queue-size, and in modelhost.yaml, as queue_size. The option wins over the "
    "environment, the environment over .env, and that over the file."
)


@in_log_file
@with_settings
def serve(
    effective: EffectiveConfig,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", "-i", help="Chat with the model in this terminal instead of serving it."),
    ] = False,
) -> None:
    """Serve a model over the OpenAI HTTP API until SIGTERM or Ctrl-C."""
    if interactive:
        lazy.own_model.talk(effective)
        return
    lazy.preload("starting", "http_server")
    with lazy.starting.start_display() as display:

        def announce(url: str, host: Host) -> None:
            display.stop()
            _note_dotenv(effective)
            first = host.models[0]
            if first.known is not None and (unused := first.known.unused_gpu) is not None:
                console.note(unused.line(first.name))
            typer.echo(lazy.starting.first_example(url, host))
            if better := lazy.engine_advice.faster_build(first):
                typer.echo(f"{better}\n")
                log.info(
                    "engine_could_be_faster",
                    model=first.name,
                    build=better.build,
                    why=better.reason,
                    gain=better.gain,
                    way_out=better.command,
                )

        read_again = effective.read_again
        code = lazy.http_server.serve(
            effective.settings,
            announce=announce,
            progress=lazy.http_server.Progress(on_download=display.downloading, on_loading=display.loading),
            reread=None if read_again is None else lambda: read_again().settings,
        )
    raise typer.Exit(code)


def _note_dotenv(effective: EffectiveConfig) -> None:
    names = [origin.name for origin in effective.origins.values() if origin.kind == DOTENV]
    if names:
        log.debug("dotenv_read", file=DOTENV, names=names)


app = typer.Typer(add_completion=False)
app.command(epilog=EXAMPLES)(serve)
