"""The hot paths of the host, driven in this process, so that valgrind can count their instructions.

``python -m bench.check.hot_paths FOLDER`` runs the host of whatever source is on the path, with the ASGI application
called as a server calls it, and a worker and a tool server as processes of their own, which are not counted. Only entry
points that every revision has are used. Standard output names the blocks in the order in which they ran; each begins
and ends with a call of :data:`MARK`, at which callgrind writes what it has counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop
import watchfiles

import modelhost

MARK: Final = "getloadavg"
"""A function of the C library that nothing else calls."""
WITH_VALGRIND: Final = "--valgrind"
BLOCKS: Final = 15
SETTLING_SECONDS, IDLE_SHARE = 0.5, 0.1
CHAT: Final = "/v1/chat/completions"
TOOL_SERVER: Final = Path(__file__).parents[1] / "tool_server.py"
WORKER: Final = Path(__file__).with_name("lockstep_worker.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class HotPath:
    """A request, and how often it is made in one block."""

    name: str
    method: str
    path: str
    has_tools: bool = False
    times: int = 1
    body: Mapping[str, Any] = field(default_factory=dict)


def _chat(text: str) -> Mapping[str, Any]:
    return {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": text}]}


HOT_PATHS: Final = (
    HotPath(name="plain stream", method="POST", path=CHAT, body=_chat("text")),
    HotPath(name="event path", method="POST", path=CHAT, has_tools=True, body=_chat("text")),
    HotPath(name="tool turn", method="POST", path=CHAT, has_tools=True, body=_chat("call")),
    HotPath(name="admin operation", method="GET", path="/v1/models/status", times=2),
)


async def _no_changes(*_: object, **__: object) -> AsyncIterator[set[Any]]:
    """Stands in for :func:`watchfiles.awatch`, whose thread keeps valgrind from everything else."""
    await asyncio.Event().wait()
    yield set()


async def main(folder: Path) -> None:
    """Start two hosts, one of them with a tool server, and run the blocks."""
    watchfiles.awatch = _no_changes  # before anything of the host is imported
    from modelhost import logs  # noqa: PLC0415
    from modelhost.http.app import build_app  # noqa: PLC0415

    getattr(logs, "setup_once", getattr(logs, "setup_if_unset", None))()  # the name before December 2026
    config = folder / "mcp.json"
    server = {"command": sys.executable, "args": [str(TOOL_SERVER)]}
    config.write_text(json.dumps({"mcpServers": {"tools": server}}))
    worker = folder / "worker"
    worker.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(WORKER))}\n")
    worker.chmod(0o700)
    settings: dict[str, Any] = {"engine": "scripted", "alias": ("scripted",), "worker_python": str(worker)}
    settings["log_level"] = "warning"
    async with AsyncExitStack() as stack:
        apps = {}
        for has_tools, more in ((False, {}), (True, {"mcp_config": str(config), "wait_for_tools": True})):
            host = modelhost.Host(**settings, data_dir=str(folder / f"data-{has_tools}"), **more)
            apps[has_tools] = build_app(await stack.enter_async_context(host))
        for hot in HOT_PATHS:
            for _ in range(2):
                await exchange(apps[hot.has_tools], hot)
        gc.collect()
        await settled()
        switch_on()
        gc.disable()  # a collection in the middle of one block and not of another would be counted as a difference
        for hot in HOT_PATHS:
            for _ in range(BLOCKS):
                os.getloadavg()
                for _ in range(hot.times):
                    await exchange(apps[hot.has_tools], hot)
                sys.stdout.write(json.dumps({"name": hot.name, "times": hot.times}) + "\n")
        os.getloadavg()
        sys.stdout.flush()


async def settled() -> None:
    """Return when no thread works: a host that has started still imports what it may need."""
    before, now = 0.0, time.process_time()
    while now - before > IDLE_SHARE * SETTLING_SECONDS:
        before = now
        await asyncio.sleep(SETTLING_SECONDS)
        now = time.process_time()


def switch_on() -> None:
    """Have valgrind count from here on: what comes before, imports most of all, runs ten times as fast uncounted."""
    if WITH_VALGRIND not in sys.argv:
        return
    command = ["vgdb", f"--pid={os.getpid()}", "instrumentation", "on"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:  # valgrind reads commands while it runs something; a process that waits does not
            pass
        if process.returncode:
            assert process.stderr is not None
            raise RuntimeError(f"vgdb could not switch the counting on: {process.stderr.read()}")


async def exchange(app: Any, hot: HotPath) -> None:
    """Make one request and read the answer to its end.

    Raises:
        RuntimeError: it was refused, or broke off.
    """
    body = json.dumps(dict(hot.body)).encode() if hot.body else b""
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    status, received = 0, b""

    async def receive() -> Mapping[str, Any]:
        if incoming:
            return incoming.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status, received
        status = message.get("status", status)
        received += message.get("body", b"")

    await app(_scope(hot, len(body)), receive, send)
    if status != 200 or b'"error"' in received or (hot.body and b"[DONE]" not in received):
        raise RuntimeError(f"{hot.name} was answered with status {status}: {received[-500:]!r}")


def _scope(hot: HotPath, length: int) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": hot.method,
        "scheme": "http",
        "path": hot.path,
        "raw_path": hot.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"content-type", b"application/json"),
            (b"content-length", str(length).encode()),
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
