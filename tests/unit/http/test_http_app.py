"""What a host imports when, and the application that is built when it is first asked for something."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import cast

import httpx2
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelhost.host import Host
from modelhost.http import rest
from modelhost.http.app import LazyApp, build_app
from tests.unit.operations.fake_host import FakeHost, ready

BEFORE_THE_WORKER = "modelhost.http.server"
BEFORE_THE_FIRST_ANSWER = "modelhost.http.listening, modelhost.chat.answering, modelhost.persistence.saved_state"


class Built:
    """Counts what it builds, and where."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def __call__(self) -> ASGIApp:
        self.threads.append(threading.current_thread().name)

        async def app(scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "answer", "path": scope["path"]})

        return app


async def asked(app: LazyApp, path: str) -> str:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError

    await app({"type": "http", "path": path}, receive, send)
    return str(sent[0]["path"])


async def test_it_is_built_once_for_all_who_ask_and_not_in_the_thread_that_answers() -> None:
    built = Built()
    app = LazyApp(built)
    assert built.threads == []
    paths = [f"/{number}" for number in range(5)]
    assert await asyncio.gather(*(asked(app, path) for path in paths)) == paths
    assert await asked(app, "/last") == "/last"
    (thread,) = built.threads
    assert thread != threading.main_thread().name


async def test_one_that_could_not_be_built_is_tried_again() -> None:
    attempts = []

    def build() -> ASGIApp:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no memory")
        return Built()()

    app = LazyApp(build)
    with pytest.raises(OSError, match="no memory"):
        await asked(app, "/")
    assert await asked(app, "/again") == "/again"


@pytest.mark.parametrize(
    ("imported", "unwanted"),
    [
        (
            BEFORE_THE_WORKER,
            ("modelhost.chat", "modelhost.tools", "modelhost.state", "starlette", "uvicorn", "rich.live", "httpx2"),
        ),
        (
            BEFORE_THE_FIRST_ANSWER,
            ("fastapi", "mcp", "sqlalchemy", "httpx2", "modelhost.operations", "modelhost.mcp_servers.http"),
        ),
    ],
    ids=["before the worker is started", "before the first answer"],
)
def test_what_can_be_imported_later_is_not_waited_for(imported: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {imported}; print([name for name in {unwanted!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/metrics"])
async def test_probes_do_not_wait_for_the_rest(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "build_rest", lambda *_, **__: pytest.fail("it was built"))
    transport = httpx2.ASGITransport(build_app(cast("Host", FakeHost(ready("a")))))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get(path)).status_code == 200


async def test_a_probe_takes_head() -> None:
    transport = httpx2.ASGITransport(build_app(cast("Host", FakeHost(ready("a")))))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.head("/health")).status_code == 200


async def test_the_root_takes_head_by_which_clients_find_the_host() -> None:
    transport = httpx2.ASGITransport(build_app(cast("Host", FakeHost(ready("a")))))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/health", "/v1/chat/completions"])
async def test_a_path_outside_the_routing_refuses_other_methods_as_all_do(path: str) -> None:
    transport = httpx2.ASGITransport(build_app(cast("Host", FakeHost(ready("a")))))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.delete(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    methods = answer.headers["allow"].split(", ")
    assert methods == sorted(methods)
