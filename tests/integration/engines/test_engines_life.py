"""Every engine does the same with the same worker: clients that leave, a kill, a drain, an unload."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing

import psutil
import pytest

from tests.integration.engines.served import NAME, WHO, Asking, Served
from tests.support.eventually import eventually
from tests.support.processes import is_alive
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.registries import status_of
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]
QUIET_SECONDS = 0.3
QUIET_PERCENT = 10
LONG = {"ignore_eos": True, "max_tokens": 400}


def _is_quiet(worker: int) -> bool:
    """Whether the worker, with its children, computes nothing."""
    processes = [psutil.Process(worker), *psutil.Process(worker).children(recursive=True)]
    return sum(process.cpu_percent(QUIET_SECONDS) for process in processes) < QUIET_PERCENT


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_work(asking: Asking, served: Served, stream: bool) -> None:
    host = asking.host
    (worker,) = served.worker_pids(host)
    eventually(lambda: host.metric("modelhost_requests_in_flight") == 0)
    connection = send_chat(host.url, "Hello!", stream=stream, **LONG)
    with closing(connection):
        eventually(lambda: host.metric("modelhost_requests_in_flight") == 1)
        if stream:
            read_until(connection, b'"content":"')
    eventually(lambda: host.metric("modelhost_requests_in_flight") == 0, seconds=2)
    eventually(lambda: _is_quiet(worker), seconds=3)
    assert asking.text(max_tokens=3)


def test_a_killed_worker_is_replaced_and_its_memory_comes_back(served: Served, start_host: StartHost) -> None:
    if served.there is not None:
        pytest.skip("it has no worker here: see lifecycle/test_remote_servers.py")
    host = start_host(**served.host_settings)
    asking = Asking(host)
    (worker,) = host.worker_pids()
    with closing(send_chat(host.url, WHO, stream=True, **LONG)) as connection:
        read_until(connection, b'"content":"')
        os.kill(worker, signal.SIGKILL)
        assert b"worker_crashed" in read_all(connection)
    answer = asking.text()
    (successor,) = host.worker_pids()
    assert successor != worker
    assert answer == asking.text()
    status = status_of(host, NAME)
    assert status["memory_bytes"]["ram"] < status["need_bytes"]["ram"] * 1.1
    assert status["memory_bytes"]["ram"] > status["need_bytes"]["ram"] * 0.4
    freed = host.http.post("/v1/models/unload", json={"model_id": NAME}).json()["memory_freed_mb"]
    assert freed > 5
    assert not is_alive(successor)
    assert host.http.get("/v1/models/status").json()["memory"]["ram"]["used_bytes"] == 0


def test_a_host_that_is_stopped_finishes_what_it_has_begun(served: Served, start_host: StartHost) -> None:
    host = start_host(**served.host_settings)
    (worker,) = served.worker_pids(host)
    with closing(send_chat(host.url, WHO, stream=True, ignore_eos=True, max_tokens=40)) as connection:
        begun = read_until(connection, b'"content":"')
        host.send_signal(signal.SIGTERM)
        whole = begun + read_all(connection)
    assert b'"finish_reason":"length"' in whole
    assert b"data: [DONE]" in whole
    assert host.wait() == 0
    assert is_alive(worker) == (served.there is not None)
