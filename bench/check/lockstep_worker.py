"""A worker in step with its host: it writes an event only once the host has nothing left to do.

How many events a host reads at once depends on what else the machine does, and so do the instructions that it spends
on each. Here each event is read by itself, on a busy machine and under valgrind as well.

It speaks the protocol of :mod:`modelhost.engines.launch` in the place of a scripted worker, in nothing but the standard
library, and only on Linux. A request whose last message begins with ``call`` gets a tool call, others get text.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

TOKENS: Final = 40
CALL: Final = "call"
TOOL: Final = "tools_echo"
PIECES: Final = ('{"text"', ':"hel', 'lo"}')
CHECKS, CHECK_SECONDS = 3, 0.0005  # as often in a row the host has to be found idle
TAIL: Final = {"created": 1, "id": "chatcmpl-1", "model": "scripted", "object": "chat.completion.chunk"}
HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def main() -> None:
    """Announce the address, and answer until the host is gone."""
    config, host = json.loads(sys.stdin.readline()), os.getppid()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(config["socket_path"])
        listener.listen()
        # "operations" is what revisions before December 2026 call it.
        can = {"tasks": ["chat"], "operations": ["chat"]}
        ready = {"event": "ready", "url": f"unix://{config['socket_path']}", "slots": 4, **can}
        sys.stdout.write(json.dumps({**ready, "context_length": 4096, "engine_version": "lockstep"}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=_exit_with_host, daemon=True).start()
        while True:
            connection, _ = listener.accept()
            with connection:
                answer(connection, host)


def _exit_with_host() -> None:
    sys.stdin.read()
    os._exit(0)


def answer(connection: socket.socket, host: int) -> None:
    """Read one request and write the events of its answer, each when the host is idle.

    The host also connects to see whether anybody listens, without a request, and the monitor reads metrics, which
    this worker does not have.
    """
    body = _body_of(connection)
    if body is None:
        return
    wait_until_idle(connection, host)
    connection.sendall(HEAD)
    for event in events_of(body):
        wait_until_idle(connection, host)
        data = b"data: " + event + b"\n\n"
        connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
    wait_until_idle(connection, host)
    connection.sendall(b"0\r\n\r\n")
    connection.recv(1)  # the host closes


def _body_of(connection: socket.socket) -> Mapping[str, Any] | None:
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        if not (more := connection.recv(65536)):
            return None
        data += more
    lengths = [int(line[15:]) for line in data[:end].lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if not lengths:
        connection.sendall(NOT_FOUND)
        return None
    [length] = lengths
    body = data[end + 4 :]
    while len(body) < length:
        body += connection.recv(65536)
    read: Mapping[str, Any] = json.loads(body)
    return read


def wait_until_idle(connection: socket.socket, host: int) -> None:
    """Return when the host has read all that was sent, and its first thread waits for more."""
    idle = 0
    while idle < CHECKS:
        unread = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]
        state = Path(f"/proc/{host}/task/{host}/stat").read_text().rpartition(")")[2].split()[0]
        idle = idle + 1 if state == "S" and not unread else 0
        time.sleep(CHECK_SECONDS)


def events_of(body: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the data of each event."""
    last = body["messages"][-1]
    calls = last["role"] == "user" and last["content"].startswith(CALL)
    yield _chunk({"role": "assistant", "content": None})
    yield from (_chunk(delta) for delta in (_call_deltas() if calls else _text_deltas(last["role"])))
    yield _chunk({}, "tool_calls" if calls else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 4, "completion_tokens": TOKENS, "total_tokens": TOKENS + 4}
        yield json.dumps({"choices": [], "usage": usage, **TAIL}).encode()
    yield b"[DONE]"


def _text_deltas(answered: str) -> Iterable[Mapping[str, Any]]:
    return ({"content": f" word{number}"} for number in range(TOKENS if answered == "user" else 1))


def _call_deltas() -> Iterable[Mapping[str, Any]]:
    opening = {"index": 0, "id": "call-1", "type": "function", "function": {"name": TOOL, "arguments": ""}}
    yield {"tool_calls": [opening]}
    for piece in PIECES:
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"finish_reason": finish_reason, "index": 0, "delta": delta}
    return json.dumps({"choices": [choice], **TAIL}, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
