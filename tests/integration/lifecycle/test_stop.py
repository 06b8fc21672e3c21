"""SIGTERM and SIGINT: nothing new is accepted, what is in flight finishes or is told, the worker is gone, exit 0."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.eventually import eventually
from tests.support.processes import Family, family, interrupt_group, is_alive
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]
SIGNALS = [signal.SIGTERM, signal.SIGINT]


def _scripted(start_host: StartHost, **settings: Any) -> ServedHost:
    return start_host(engine="scripted", **settings)


def _refuses_connections(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((str(address.hostname), address.port or 0), timeout=1).close()
    except OSError:
        return True
    return False


@contextmanager
def _streaming(host: ServedHost, content: str) -> Iterator[socket.socket]:
    """A stream of which the first tokens have arrived."""
    with closing(send_chat(host.url, content, stream=True)) as connection:
        read_until(connection, b"data: ")
        yield connection


@pytest.mark.parametrize("number", SIGNALS)
def test_an_idle_host_stops_with_status_0_and_takes_its_worker_along(number: signal.Signals) -> None:
    with ServedHost() as host:
        (worker,) = host.worker_pids()
        host.send_signal(number)
        assert host.wait() == 0
        assert not is_alive(worker)
        assert host.log_events("stopped")
        assert not host.log_events("worker_lost")


def test_a_stream_in_flight_finishes_while_nothing_new_is_accepted(start_host: StartHost) -> None:
    host = _scripted(start_host)
    (worker,) = host.worker_pids()
    with _streaming(host, "/tokens 60 /slow 40") as connection:
        host.send_signal(signal.SIGTERM)
        eventually(lambda: _refuses_connections(host.url))
        assert host.returncode is None
        rest = read_all(connection)
    assert b"data: [DONE]" in rest
    assert b'"error"' not in rest
    assert host.wait() == 0
    assert not is_alive(worker)


def test_a_whole_answer_in_flight_finishes_too(start_host: StartHost) -> None:
    host = _scripted(start_host)
    with closing(send_chat(host.url, "/tokens 40 /slow 40")) as connection:
        eventually(lambda: host.metric("modelhost_requests_in_flight") == 1)
        host.send_signal(signal.SIGTERM)
        answer = read_all(connection)
    assert b"200 OK" in answer
    assert b'"finish_reason":"stop"' in answer
    assert host.wait() == 0


def test_a_stream_that_takes_too_long_is_cut_off_with_an_error_event(start_host: StartHost) -> None:
    host = _scripted(start_host, shutdown_timeout=1.0)
    (worker,) = host.worker_pids()
    with _streaming(host, "/hang 3") as connection, closing(send_chat(host.url, "/hang 0")) as whole:
        eventually(lambda: host.metric("modelhost_requests_in_flight") == 2)
        host.send_signal(signal.SIGTERM)
        rest = read_all(connection)
        answer = read_all(whole)
    assert b'"code":"shutting_down"' in rest
    assert b"503 Service Unavailable" in answer
    assert b'"code":"shutting_down"' in answer
    assert host.wait() == 0
    assert not is_alive(worker)


def test_a_shutdown_timeout_of_zero_waits_for_nobody(start_host: StartHost) -> None:
    host = _scripted(start_host, shutdown_timeout=0)
    with _streaming(host, "/hang 3") as connection:
        host.send_signal(signal.SIGTERM)
        assert b'"code":"shutting_down"' in read_all(connection)
    assert host.wait(5) == 0


def test_a_client_that_does_not_read_does_not_hold_the_host_up(start_host: StartHost) -> None:
    host = _scripted(start_host, shutdown_timeout=1.0)
    (worker,) = host.worker_pids()
    with closing(send_chat(host.url, "/tokens 50000", stream=True, small_buffer=True)) as connection:
        read_until(connection, b"data: ")
        host.send_signal(signal.SIGTERM)
        assert host.wait(15) == 0
    assert not is_alive(worker)


def test_a_second_signal_ends_the_host_at_once(start_host: StartHost) -> None:
    host = _scripted(start_host)
    (worker,) = host.worker_pids()
    with _streaming(host, "/hang 3"):
        host.send_signal(signal.SIGTERM)
        eventually(lambda: host.log_events("stopping"))
        host.send_signal(signal.SIGINT)
        assert host.wait(5) == 128 + signal.SIGINT
    eventually(lambda: not is_alive(worker))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_model_loads_ends_host_and_worker_with_status_0(number: signal.Signals) -> None:
    with family(Family.serve(engine="scripted", engine_options={"load_seconds": 60.0})) as started:
        started.worker()
        started.process.send_signal(number)
        status, output, log = started.result(15)
        assert (status, output) == (0, "")
        assert "stopped_while_starting" in log
        assert "Traceback" not in log
        assert started.is_gone()


def test_ctrl_c_reaches_the_whole_terminal_and_streams_still_finish() -> None:
    with family(Family.serve(engine="scripted")) as started:
        assert started.process.stdout is not None
        url = started.process.stdout.readline().strip()
        with closing(send_chat(url, "/tokens 40 /slow 40", stream=True)) as connection:
            read_until(connection, b"data: ")
            interrupt_group(started.process)
            rest = read_all(connection)
        assert b"data: [DONE]" in rest
        assert started.result(15)[0] == 0
        assert started.is_gone()


def test_llama_cpp_stops_cleanly_in_the_middle_of_its_work(start_host: StartHost) -> None:
    host = start_host(shutdown_timeout=0)
    (worker,) = host.worker_pids()
    with closing(send_chat(host.url, "Hello!", stream=True, ignore_eos=True, max_tokens=1500)) as connection:
        read_until(connection, b"data: ")
        host.send_signal(signal.SIGTERM)
        read_all(connection)
    assert host.wait() == 0
    assert not is_alive(worker)
    assert "Traceback" not in host.stderr
    assert [entry["code"] for entry in host.log_events("request")] == ["shutting_down"]


def test_a_stopped_host_leaves_no_socket_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ServedHost(engine="scripted") as host:
        host.send_signal(signal.SIGTERM)
        assert host.wait() == 0
    with family(Family.serve(engine="scripted", engine_options={"load_seconds": 60.0}, load_timeout=0.5)) as started:
        assert started.result()[0] == 1
    assert not list(tmp_path.rglob("*.sock"))
