"""SIGKILL of a worker while it loads, while it answers and while it is being stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.registries import chat, load, nano, scripted, state_of, status_of, unload, write_registry
from tests.support.serving import ServedHost


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host with a real model and with scripts, of which one may be loaded."""
    entries = (
        scripted("slow", options={"load_seconds": 0.8, "stderr_lines": 3}),
        scripted("other"),
        nano("nano"),
    )
    path = write_registry(tmp_path_factory.mktemp("crash") / "models.yaml", *entries)
    with ServedHost(models_config=path, max_models=1) as started:
        yield started


def _kill_until_done(host: ServedHost, waiting: Future[Any]) -> int:
    """Kill each worker that appears until ``waiting`` is done; return how many it were."""
    killed: set[int] = set()

    def kill() -> bool:
        for worker in host.worker_pids():
            if worker not in killed:
                killed.add(worker)
                os.kill(worker, signal.SIGKILL)
        return waiting.done()

    eventually(kill)
    return len(killed)


@pytest.mark.parametrize("model", ["slow", "nano"])
def test_a_worker_that_is_killed_while_it_loads_is_told_to_who_waits_and_the_next_try_succeeds(
    host: ServedHost, model: str
) -> None:
    unload(host, "slow"), unload(host, "nano")
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(chat, host, model)
        # Where the kernel does not say whom it killed for want of memory, one more attempt is made at once.
        assert _kill_until_done(host, waiting) in (1, 2)
        answer = waiting.result()
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    error = answer.json()["error"]
    assert error["code"] == "model_failed"
    assert "was ended by SIGKILL" in error["message"]
    assert status_of(host, model)["state"] == "failed"
    assert "SIGKILL" in status_of(host, model)["last_error"]
    assert host.worker_pids() == []
    # Who asks by hand does not wait for the end of the pause.
    assert load(host, model)["status"] == "loaded"
    assert chat(host, model, max_tokens=2).status_code == 200
    assert status_of(host, model)["last_error"] is None


def test_a_real_worker_that_is_killed_in_the_middle_of_a_stream_is_told_and_comes_back(host: ServedHost) -> None:
    load(host, "nano")
    options = {"stream": True, "ignore_eos": True, "max_tokens": 1500}
    with closing(send_chat(host.url, "Hello!", model="nano", **options)) as stream:
        read_until(stream, b"data: ")
        (worker,) = host.worker_pids()
        os.kill(worker, signal.SIGKILL)
        rest = read_all(stream)
    assert b'"code":"worker_crashed"' in rest
    assert b"[DONE]" not in rest
    answer = chat(host, "nano", max_tokens=2)
    assert answer.status_code == 200
    assert host.worker_pids() != [worker]


@pytest.mark.parametrize("model", ["slow", "nano"])
def test_a_worker_that_does_not_stop_and_is_killed_meanwhile_makes_room_all_the_same(
    host: ServedHost, model: str
) -> None:
    load(host, model)
    (worker,) = host.worker_pids()
    os.kill(worker, signal.SIGSTOP)  # it cannot hear that it is to stop
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(chat, host, "other")
        eventually(lambda: state_of(host, model) == "stopping")
        assert state_of(host, "other") == "queued"
        os.kill(worker, signal.SIGKILL)
        assert waiting.result().status_code == 200
    assert state_of(host, model) == "unloaded"
    assert host.worker_pids() != [worker]
    assert not [entry for entry in host.log_events("worker_lost") if entry["pid"] == worker]


def test_a_worker_that_is_killed_while_the_host_stops_does_not_hold_it_up(tmp_path: Path) -> None:
    path = write_registry(tmp_path / "models.yaml", scripted("ant"), scripted("bee", options={"load_seconds": 60.0}))
    with ServedHost(models_config=path) as host:
        load(host, "ant")
        (worker,) = host.worker_pids()
        host.http.post("/v1/models/load", json={"model_id": "bee"})
        eventually(lambda: len(host.worker_pids()) == 2)
        os.kill(worker, signal.SIGSTOP)
        host.send_signal(signal.SIGTERM)
        eventually(lambda: host.worker_pids() == [worker])
        os.kill(worker, signal.SIGKILL)
        assert host.wait(20) == 0  # of the 60 s that the other load takes
        assert "Traceback" not in host.stderr
