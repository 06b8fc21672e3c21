"""Hosts that the command lines of the documents start: processes in folders of their own, with a hub beside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.compatibility.examples import SECONDS, variables
from tests.support.eventually import eventually
from tests.support.hub import Repository

NANO: Final = Path(str(files("modelhost"))) / "assets" / "nano" / "modelhost-nano.gguf"
GGUF: Final = Repository(files={"nano-F16.gguf": NANO.read_bytes()})
"""The bundled model in the place of a larger one of the hub."""
HELLO: Final = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """The environment of an example that keeps what it writes and downloads in ``folder``."""
    own = {"MODELHOST_DATA_DIR": str(folder / "data"), "HF_HOME": str(folder / "hf"), "MODELHOST_THREADS": "1"}
    return variables() | own | more


def with_port(words: Sequence[str], option: str, port: int) -> list[str]:
    """``words`` with another value behind ``option``: the document's port may be taken on this machine."""
    place = words.index(option) + 1
    return [*words[:place], str(port), *words[place + 1 :]]


class StartedHost:
    """A host that listens."""

    def __init__(self, port: int) -> None:
        self.port = port

    def answer(self) -> dict[str, Any]:
        """The answer to a chat; it names the model and has a text."""
        answer: dict[str, Any] = self._json("/v1/chat/completions", HELLO)
        assert answer["choices"][0]["message"]["content"]
        return answer

    def tools(self) -> list[str]:
        """The names of the tools that models are offered, once all servers are there."""
        eventually(lambda: all(each["state"] == "ready" for each in self._json("/v1/mcp/servers")["data"]))
        return [each["function"]["name"] for each in self._json("/v1/mcp/tools")["data"]]

    def _json(self, path: str, body: object = None) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        with httpx2.Client(trust_env=False, timeout=SECONDS) as http:
            answer = http.get(url) if body is None else http.post(url, json=body)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def started(words: Sequence[str], folder: Path, port: int, env: dict[str, str]) -> Iterator[StartedHost]:
    """``modelhost WORDS`` in ``folder``, which listens on ``port`` until SIGTERM ends it, and ends in order."""
    with (folder / "stderr").open("w+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelhost", *words], cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=stderr
        )
        try:
            eventually(lambda: _is_ready(port, process, folder), seconds=SECONDS)
            yield StartedHost(port)
            process.terminate()
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
            process.wait()


def _is_ready(port: int, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "stderr").read_text("utf-8")
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/ready", trust_env=False).is_success
    except httpx2.TransportError:
        return False
