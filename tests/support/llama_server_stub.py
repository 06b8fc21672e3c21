"""A program that speaks as a ``llama-server`` does when it starts and ends, without a model: for faults and for speed.

:func:`write_llama_server` makes one. It says of itself what real ones say, shortened: ``tests/assets/llama-server``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

RECORDED = Path(__file__).parents[1] / "assets" / "llama-server"
SEEN = "seen.json"
BEHAVIOUR = "behaviour.json"
SLOT = {"id": 0, "is_processing": False, "prompt": "", "generated": "", "n_prompt_tokens": 1}


def write_llama_server(folder: Path, *, age: Literal["new", "old"] = "new", **behaviour: Any) -> str:
    """Write the program into ``folder`` and return its path.

    ``behaviour``: ``fails`` with a status, ``says`` on standard error, ``slot`` that it tells of, ``completes`` with a
    status, ``devices`` that it lists.
    """
    texts = {name: (RECORDED / f"{age}-{name}.txt").read_text() for name in ("help", "version")}
    (folder / BEHAVIOUR).write_text(json.dumps({**texts, "slot": SLOT, "completes": 200, "devices": "", **behaviour}))
    program = folder / "llama-server"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{Path(__file__).resolve()}" "{folder}" "$@"\n')
    program.chmod(0o755)
    return str(program)


def seen_by(program: str) -> dict[str, Any]:
    """Return what the program was started with: ``pid``, ``arguments``, ``environment`` and the ``template``."""
    seen: dict[str, Any] = json.loads((Path(program).parent / SEEN).read_text())
    return seen


class _UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)


def _value(arguments: list[str], flag: str) -> str | None:
    return arguments[arguments.index(flag) + 1] if flag in arguments else None


def _note_start(folder: Path, arguments: list[str]) -> None:
    template = _value(arguments, "--chat-template-file")
    seen = {
        "pid": os.getpid(),
        "arguments": arguments,
        "environment": dict(os.environ),
        "template": Path(template).read_text() if template else None,
    }
    (folder / SEEN).write_text(json.dumps(seen))


def _handler(behaviour: Mapping[str, Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, [behaviour["slot"]] if self.path == "/slots" else {"status": "ok"})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(behaviour["completes"], {"id_slot": 0})

        def address_string(self) -> str:
            return "host"

        def _answer(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> None:
    """Say what is asked, or serve."""
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    behaviour = json.loads((folder / BEHAVIOUR).read_text())
    for flag, key in (("--version", "version"), ("--help", "help"), ("--list-devices", "devices")):
        if arguments == [flag]:
            sys.stdout.write(behaviour[key])
            return
    _note_start(folder, arguments)
    if "says" in behaviour:
        sys.stderr.write(behaviour["says"] + "\n")
    if "fails" in behaviour:
        sys.exit(behaviour["fails"])
    host, port = _value(arguments, "--host"), int(_value(arguments, "--port") or 0)
    assert host is not None
    handler = _handler(behaviour)
    server = _UnixServer(host, handler) if host.endswith(".sock") else ThreadingHTTPServer((host, port), handler)
    server.serve_forever()


if __name__ == "__main__":
    main()
