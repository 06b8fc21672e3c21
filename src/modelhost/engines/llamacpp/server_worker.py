"""The worker process of one GGUF model in a ``llama-server`` of the user's, a program and the child of this process.

Started as ``python -m modelhost.engines.llamacpp.server_worker`` (:mod:`modelhost.engines.launch`).
The program serves the host directly; this process starts it, announces it, and exits as it does. If either of them or
the host is killed, the program and this process end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelhost.engines.llamacpp.config import cache_folder, tasks_of
from modelhost.engines.llamacpp.modalities import modalities_of
from modelhost.engines.llamacpp.program import NotAServerError, ServerProgram, inspect_program
from modelhost.engines.llamacpp.server_flags import CommandLine, MissingFlagError, command_line
from modelhost.engines.worker.child_server import Address, ask, die_with_parent, exit_like, free_port, url_of
from modelhost.engines.worker.process import announce_failed, announce_ready, end_with_host, read_config

POLL_SECONDS = 0.02
LOOPBACK = "127.0.0.1"
READY = 200
NOT_SUPPORTED = 501
SLOT_TEXTS = ("prompt", "generated", "n_prompt_tokens")
"""The fields of each slot that prompt caches need."""


def main() -> None:
    """Start the program, announce it, and end when it ends."""
    config = read_config()
    end_with_host()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        program = inspect_program(config["server"], before=die_with_parent())
        address = _address(config, program)
        with tempfile.TemporaryDirectory(prefix="modelhost-llama-", dir=config.get("folder")) as folder:
            line = command_line(config, program, **_listening(address), template=_template(config, Path(folder)))
            child = _started(line, program, config)
            _wait_until_ready(child, address, line.config)
        folder_of_caches = _folder_of_caches(address, line.config)
    except (NotAServerError, MissingFlagError) as error:
        announce_failed("unsuitable_program", str(error))
        sys.exit(1)
    announce_ready(
        url_of(address),
        context_length=config["context_length"],
        slots=config["slots"],
        tasks=tasks_of(dict(line.config)),
        engine_version=f"llama-server {program.version}",
        cache_folder=folder_of_caches,
        chat_stops=config["chat_stops"],
        **modalities_of(address, config),
        lacks=line.lacks,
    )
    exit_like(child.wait())


def _address(config: Mapping[str, Any], program: ServerProgram) -> Address:
    path: str | None = config.get("socket_path")
    return path if path is not None and program.help_mentions("--host", ".sock") else free_port()


def _listening(address: Address) -> dict[str, Any]:
    return {"host": address, "port": 0} if isinstance(address, str) else {"host": LOOPBACK, "port": address}


def _template(config: Mapping[str, Any], folder: Path) -> str | None:
    """Return the file with a template that is not the model's own, which the program reads when it starts."""
    if config["chat_template"] is None:
        return None
    path = folder / "template.jinja"
    path.write_text(config["chat_template"], encoding="utf-8")
    return str(path)


def _started(line: CommandLine, program: ServerProgram, config: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start the program; SIGTERM ends it from then on, too.

    It gets the environment of this process, which has the key. Variables that stand for flags are removed, since they
    would override settings; those that were set for this worker are kept.
    """
    for variable in program.variables.difference(config["given_variables"]):
        os.unsetenv(variable)
        os.unsetenv(variable.replace("LLAMA_ARG_", "LLAMA_ARG_NO_"))
    try:
        child = subprocess.Popen(  # noqa: S603 (the program that a setting names)
            line.arguments,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 (two calls of the kernel)
        )
    except OSError as error:
        raise NotAServerError(f"{program.path} cannot be started: {error.strerror or error}") from error

    def end(*_: object) -> None:
        child.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    return child


def _wait_until_ready(child: subprocess.Popen[bytes], address: Address, config: Mapping[str, Any]) -> None:
    """Return once the model is loaded; if the program ends before that, announce the reason and exit."""
    while child.poll() is None:
        if _is_ready(address, config):
            return
        time.sleep(POLL_SECONDS)
    if child.returncode > 0:
        announce_failed("load_failed", f"llama-server ended with status {child.returncode}")
    exit_like(child.returncode or 1)


def _is_ready(address: Address, config: Mapping[str, Any]) -> bool:
    try:
        return ask(address, "/health", api_key=config["api_key"]).status == READY
    except OSError:  # it does not listen yet
        return False


def _folder_of_caches(address: Address, config: Mapping[str, Any]) -> str | None:
    """Return the folder of prompt caches; ``None`` if the program does not report the fields of slots that they need.

    Raises:
        MissingFlagError: it cannot generate text while it makes embeddings.
    """
    folder = cache_folder(dict(config))
    if "chat" not in tasks_of(dict(config)):
        return None
    # The fields of a slot are reported once it has processed a request.
    answer = ask(address, "/completion", {"prompt": [0], "n_predict": 0}, api_key=config["api_key"])
    if answer.status == NOT_SUPPORTED:
        raise MissingFlagError("this llama-server makes embeddings or texts, not both: engine option embeddings=false")
    slots = ask(address, "/slots", api_key=config["api_key"])
    return folder if not answer.is_error and not slots.is_error and _have_needed_fields(slots.value) else None


def _have_needed_fields(slots: Any) -> bool:
    return isinstance(slots, list) and any(all(key in slot for key in SLOT_TEXTS) for slot in slots)


if __name__ == "__main__":
    main()
