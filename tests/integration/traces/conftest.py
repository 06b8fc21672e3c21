"""A receiver of spans, and hosts that export to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.serving import ServedHost
from tests.support.tool_hosts import calls, scripted_host, sdk_server, stub_server
from tests.support.traces import QUICK, TraceReceiver, trace_receiver

PRIVATE = "a word that nobody else may read"
FAILING = "the words of a failing tool"


@pytest.fixture(scope="session")
def receiver() -> Iterator[TraceReceiver]:
    with trace_receiver() as started:
        yield started


@pytest.fixture(scope="session")
def host(receiver: TraceReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with MCP servers that exports spans without content."""
    started: list[ServedHost] = []

    def start(**settings: object) -> ServedHost:
        started.append(ServedHost(environment=QUICK, otlp_endpoint=receiver.url, **settings))
        return started[0]

    script = [
        calls("say it again", ("sdk_echo", {"text": PRIVATE}), text=f"It said: {PRIVATE}"),
        calls("let it fail", ("stub_fail", {"text": FAILING}), text="It failed."),
        calls("may I", ("careful_echo", {"text": PRIVATE}), text="Thank you."),
        {"match": "out of order", "error_status": 500},
    ]
    servers = {"sdk": sdk_server(), "stub": stub_server(), "careful": {**stub_server(), "approval": "ask"}}
    try:
        yield scripted_host(start, tmp_path_factory.mktemp("traces"), script, servers=servers)
    finally:
        for each in started:
            each.close()
