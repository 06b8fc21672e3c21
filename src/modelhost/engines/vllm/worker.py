"""The worker process of one model in vLLM: it starts vLLM's own server, which then serves the host directly.

Started as ``python -m modelhost.engines.vllm.worker`` (:mod:`modelhost.engines.launch`), by the host's
Python: vLLM runs in that of its own environment, which need not have modelhost. This process leads the group of all of
vLLM's; what it learns from the server's log is how far the start is and why it failed. It warms the server up, since
vLLM compiles parts of its sampler at the first request that needs them, which can take longer than its start.

SIGTERM reaches vLLM's processes by themselves, being in the same group; this one ends when the server has.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelhost.engines.vllm.adapters import adapter_arguments
from modelhost.engines.vllm.families import AUTO, NONE, reasoning_parser, tool_parser
from modelhost.engines.worker.child_server import Address, ask, exit_like, free_port, url_of
from modelhost.engines.worker.process import (
    STDERR,
    announce_failed,
    announce_progress,
    announce_ready,
    end_with_host,
    read_config,
)
from modelhost.exchange.tasks import WRITING

POLL_SECONDS = 0.1
STAGES = (
    ("Resolved architecture", 0.3),
    ("Starting to load model", 0.6),
    ("KV cache size", 0.8),
    ("Starting vLLM server", 0.9),
)
"""Stages of the start, by lines of the log; importing the library takes longer than loading a small model."""
CALL_PARSER = "--tool-call-parser"
"""Without it, vLLM refuses requests with tools."""
_ERROR = re.compile(r"\b((?:\w+\.)*\w*(?:Error|Exception)): (.+)")
_CONSEQUENCES = ("Engine core initialization failed", "Engine process failed to start", "WorkerProc initialization")
DRAINED = "EngineCore: exiting busy loop"
_SAMPLING: Mapping[str, Any] = {
    "max_tokens": 2,
    "temperature": 1,
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.01,
    "seed": 1,
    "frequency_penalty": 0.1,
    "response_format": {"type": "json_object"},
}
WARM_UP: Mapping[str, Mapping[str, Any]] = {
    "/v1/completions": {**_SAMPLING, "prompt": "a", "logprobs": 1},
    "/v1/chat/completions": {**_SAMPLING, "messages": [{"role": "user", "content": "a"}]},
}
"""Requests that use the whole sampler, and grammars."""


def main() -> None:
    """Start the server, announce it, and end when it ends."""
    config = read_config()
    end_with_host()
    # The server gets it too, and this process ends after it. Not SIG_IGN, which the server would begin with.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="modelhost-vllm-", dir=config.get("folder")) as folder:
        address, listening = _address(config)
        arguments = _model_arguments(config, Path(folder))
        command = [*config["command"], *listening, *arguments]
        server = Server(command, ends_when_drained=config["is_alone"])
        _wait_until_ready(server, address, config)
    announce_ready(
        url_of(address),
        context_length=config["context_length"],
        slots=config["slots"],
        tasks=WRITING,
        engine_version=f"vllm {_ask(address, config, '/version')['version']}",
        chat_stops=config["chat_stops"],
        chat_defaults={"add_special_tokens": True} if config["adds_special"] else {},
        most_tokens=config["context_length"],
        calls_tools=CALL_PARSER in arguments,
    )
    exit_like(server.wait())


class Server:
    """vLLM's server, with what its log has reported.

    With ``ends_when_drained`` it is killed as soon as its requests are finished after a SIGTERM: otherwise it then
    takes some seconds to clean up what ends with its processes anyway, unless they share memory.
    """

    def __init__(self, command: Sequence[str], *, ends_when_drained: bool) -> None:
        self._ends_when_drained = ends_when_drained
        self._is_drained = False
        self._process = subprocess.Popen(  # noqa: S603 (vLLM in the Python of its environment)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.error = ""
        """The first error that is not the consequence of another one."""
        self._reader = threading.Thread(target=self._read, name="log", daemon=True)
        self._reader.start()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Return its exit status, once it has ended and its log is read."""
        status = self._process.wait()
        self._reader.join(timeout=1)  # a process of its that is left may hold the other end
        return 0 if self._is_drained else status

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            os.write(STDERR, line)
            self._note(line.decode(errors="replace"))

    def _note(self, line: str) -> None:
        for mark, fraction in STAGES:
            if mark in line:
                announce_progress(fraction)
        if self._ends_when_drained and DRAINED in line:
            self._is_drained = True
            self._process.kill()
        if not self.error and (found := _ERROR.search(line)) and not any(each in line for each in _CONSEQUENCES):
            self.error = f"{found[1]}: {found[2].strip()}"


def _address(config: Mapping[str, Any]) -> tuple[Address, list[str]]:
    """Return the socket or the port to listen on, and vLLM's arguments for it."""
    path = config.get("socket_path")
    if path is not None:
        return path, ["--uds", path]
    port = free_port()
    return port, ["--host", "127.0.0.1", "--port", str(port)]


def _model_arguments(config: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the arguments that follow from the model's files; ``folder`` is for files that vLLM reads at its start."""
    directory = Path(config["path"])
    described = _json(directory / "config.json")
    # A CPU computes in 32 bits faster than in 16; weights that are packed have kernels for 16 only.
    dtype = config["dtype"] or (AUTO if "quantization_config" in described else "float32")
    family = str(described.get("model_type", ""))
    is_greedy = _json(directory / "generation_config.json").get("do_sample") is False
    # vLLM reads the makers' temperature there, and overlooks that there is to be none.
    greedy = ["--override-generation-config", '{"temperature": 0.0}'] if is_greedy else []
    own = [*greedy, "--dtype", dtype, *_parsers(config, directory, family), *_template(config, folder)]
    return [*own, *adapter_arguments(config["adapters"], places=config["adapter_places"])]


def _parsers(config: Mapping[str, Any], directory: Path, family: str) -> list[str]:
    """Return the arguments of the parsers of tool calls and reasoning."""
    template = config["chat_template"] or _own_template(directory)
    calls, thoughts = config["tool_call_parser"], config["reasoning_parser"]
    calls = tool_parser(family, template) if calls == AUTO else calls
    thoughts = reasoning_parser(family, template) if thoughts == AUTO else thoughts
    arguments = []
    if calls not in (None, NONE):
        arguments += ["--enable-auto-tool-choice", CALL_PARSER, calls]
    if thoughts not in (None, NONE):
        arguments += ["--reasoning-parser", thoughts]
    return arguments


def _own_template(directory: Path) -> str | None:
    own = directory / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    template = _json(directory / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("tool_use") or named.get("default")
    return template if isinstance(template, str) else None


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return value


def _template(config: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the arguments for a template other than the model's own: a file, since vLLM rewrites escapes in a text."""
    if config["chat_template"] is None:
        return []
    path = folder / "template.jinja"
    path.write_text(config["chat_template"], encoding="utf-8")
    return ["--chat-template", str(path)]


def _wait_until_ready(server: Server, address: Address, config: Mapping[str, Any]) -> None:
    """Return once the server has answered a request; if it ends before that, announce the reason and exit."""
    while server.is_running:
        try:
            _ask(address, config, "/health")
            for path, body in WARM_UP.items():
                _ask(address, config, path, {"model": config["name"], **body})
        except OSError:  # it does not listen yet, or has ended, which the next iteration detects
            time.sleep(POLL_SECONDS)
        else:
            return
    status = server.wait()
    announce_failed("exit", server.error or f"vLLM ended with status {status}")
    exit_like(status)


def _ask(address: Address, config: Mapping[str, Any], path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Return the server's JSON answer; raises OSError if there is none."""
    answer = ask(address, path, body, api_key=config["api_key"])
    if answer.is_error:
        sys.stderr.write(f"{path} answered {answer.status}: {answer.text[:500]}\n")
    return answer.value


if __name__ == "__main__":
    main()
