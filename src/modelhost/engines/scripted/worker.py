"""The worker process of the scripted engine.

Started as ``python -m modelhost.engines.scripted.worker`` (:mod:`modelhost.engines.launch`). Its options are listed in
:mod:`.engine`, the rules of a script and commands like ``/crash 5`` in the prompt in :mod:`.reply`.

At full speed, it puts up to ``events_per_write`` chunks (16) into one write, which is cheaper than any engine that
writes each token as it comes; ``events_per_write=1`` is the comparison with such an engine. When paced, each token is
one write.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelhost.engines.scripted.app import ScriptedApp
from modelhost.engines.scripted.reply import Rule, rules_of
from modelhost.engines.scripted.speech import VOICES
from modelhost.engines.worker.process import (
    announce_failed,
    announce_progress,
    announce_ready,
    read_config,
    watch_lifeline,
)
from modelhost.engines.worker.server import serve
from modelhost.errors import ConfigError
from modelhost.version import __version__

TASKS = (
    *("chat", "completions", "embeddings", "rerank", "tokenize", "detokenize", "speech", "transcription"),
    *("images", "image_edits"),
)


def main() -> None:
    """Read the configuration, play the loading, serve."""
    config = read_config()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    watch_lifeline()
    for number in range(1, config["stderr_lines"] + 1):
        sys.stderr.write(f"scripted: line {number}\n")
    sys.stderr.flush()
    if config["exit_at_start"] >= 0:
        sys.exit(config["exit_at_start"])
    _load(config)
    try:
        rules = read_script(config["script"])
    except ConfigError as error:
        announce_failed(error.code, error.message)
        sys.exit(1)
    _serve(config, rules)


def _load(config: Mapping[str, Any]) -> None:
    steps = max(1, config["load_progress"])
    for step in range(1, steps + 1):
        time.sleep(config["load_seconds"] / steps)
        if config["load_progress"]:
            announce_progress(step / steps)
    if config["fail_load"]:
        announce_failed("load_failed", config["fail_load"])
        sys.exit(1)


def read_script(path: str) -> tuple[Rule, ...]:
    """Return the rules of the script at ``path``, none for an empty path.

    Raises:
        ConfigError: the file is not there, or it is not a script.
    """
    if not path:
        return ()
    from modelhost.config.document import parse_any, read_content  # noqa: PLC0415 - most workers have no script

    try:
        return rules_of(parse_any(read_content(Path(path))))
    except ValueError as error:
        raise ConfigError(f"the script {path} cannot be read: {error}", param="script") from error


def _serve(config: Mapping[str, Any], rules: tuple[Rule, ...]) -> None:
    def announce(url: str) -> None:
        announce_ready(
            url,
            context_length=config["context_length"],
            slots=config["slots"],
            tasks=TASKS,
            engine_version=__version__,
            voices=VOICES,
            calls_tools=config["calls_tools"],
        )

    serve(ScriptedApp(config, rules), config.get("socket_path"), announce)


if __name__ == "__main__":
    main()
