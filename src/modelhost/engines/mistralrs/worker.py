"""The worker process of one model in mistral.rs, whose wheel has a library and no server.

Started as the module ``modelhost.engines.mistralrs.worker`` (:mod:`modelhost.engines.launch`), usually
by the Python of an environment of its own (:mod:`~modelhost.engines.worker.foreign_start`). That has what its lock file
lists and nothing else, so this module imports only what needs no other library.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from modelhost.engines.worker.process import announce_failed, announce_ready, read_config, watch_lifeline
from modelhost.exchange.tasks import WRITING

VERBATIM = "{{ messages[0]['content'] }}"
"""The chat template that the library gets: conversations are rendered here, since with tools the library changes what
it renders, and constrains answers to a form of calls that the model does not write."""


def main() -> None:
    """Load the model, announce the address, serve."""
    config = read_config()
    watch_lifeline()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        runner = load(config)
    except BaseException as error:  # noqa: BLE001 (a panic of the library is no Exception)
        traceback.print_exception(error)
        message, _, _frames = str(error).strip().partition("\n")
        announce_failed("load_failed", f"{type(error).__name__}: {message}")
        sys.stderr.flush()
        os._exit(1)
    serve_runner(runner, config)


def load(config: Mapping[str, Any]) -> Any:
    """Return the ``Runner`` of the model of ``config``.

    Raises:
        FileNotFoundError: there is nothing at its path; the library would look for it on the hub.
        ValueError: the library cannot load it.
    """
    path = Path(config["path"])
    if not path.exists():
        raise FileNotFoundError(str(path))
    from mistralrs import ModelDType, Runner, Which  # noqa: PLC0415 (the lifeline is watched already)

    types = {"float32": ModelDType.F32, "bfloat16": ModelDType.BF16, "float16": ModelDType.F16}
    dtype = types.get(config["dtype"], ModelDType.Auto)
    if path.is_dir():
        which = Which.Plain(model_id=str(path), dtype=dtype)
    else:
        which = Which.GGUF(quantized_model_id=str(path.parent), quantized_filename=_parts(path), dtype=dtype)
    with NamedTemporaryFile("w", suffix=".jinja") as template:
        template.write(VERBATIM)
        template.flush()
        return Runner(
            which=which,
            max_seqs=config["slots"],
            prefix_cache_n=config["prefix_caches"],
            chat_template=template.name,
            in_situ_quant=None if config["isq"] == "none" else config["isq"],
        )


def _parts(path: Path) -> str | list[str]:
    """Return the names of all parts of a split model, of which ``path`` is the first."""
    stem, mark, count = path.stem.rpartition("-of-")
    if not mark or not count.isdigit():
        return path.name
    base = stem.removesuffix("-00001")
    return [f"{base}-{number:05}-of-{count}{path.suffix}" for number in range(1, int(count) + 1)]


def serve_runner(runner: Any, config: Mapping[str, Any]) -> None:
    """Announce the address and serve until the process ends."""
    from modelhost.engines.mistralrs.answers import RunnerAnswers  # noqa: PLC0415
    from modelhost.engines.worker.asgi import WorkerRoutes  # noqa: PLC0415
    from modelhost.engines.worker.server import serve  # noqa: PLC0415

    longest = runner.max_sequence_length() or config["context_length"]
    config = {**config, "context_length": min(config["context_length"], longest)}
    answers = RunnerAnswers(runner, config)
    calls_tools = answers.calls_tools()

    def announce(url: str) -> None:
        announce_ready(
            url,
            context_length=config["context_length"],
            slots=config["slots"],
            tasks=WRITING,
            engine_version=f"mistralrs {version('mistralrs')}",
            chat_stops=config["chat_stops"],
            calls_tools=calls_tools,
        )

    serve(WorkerRoutes(answers, config), config.get("socket_path"), announce)


if __name__ == "__main__":
    main()
