"""``modelhost serve``."""

from __future__ import annotations

from typing import Final

import typer

from modelhost.cli.settings_flags import takes_settings
from modelhost.config.sources import Effective

SERVE_EXAMPLES: Final = (
    "Examples:\n"
    "  modelhost serve\n"
    "  modelhost serve ./model.gguf --alias small --port 9000\n"
    "  modelhost serve Qwen/Qwen3-4B-GGUF:Q4_K_M --context-length 8192 --api-key SECRET\n"
    "  modelhost serve --m Qwen/Qwen3-4B-GGUF --p 2000\n\n"
    "Every option has a twin in the environment, as MODELHOST_QUEUE_SIZE for --queue-size, and in "
    "modelhost.yaml, as queue_size. The option wins over the environment, and the environment over the file."
)


@takes_settings
def serve(effective: Effective) -> None:
    """Serve a model over the OpenAI HTTP API until SIGTERM or Ctrl-C."""
    # Here and not at the top: `modelhost --help` need not wait for the HTTP server to be imported.
    from modelhost.http import server  # noqa: PLC0415

    raise typer.Exit(server.serve(effective.settings))
