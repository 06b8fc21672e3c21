"""Models in a ``llama-server`` beside the host: what is told of it, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from modelhost.config.environment import SERVER_VARIABLE
from modelhost.engines.llamacpp.program import inspect_program
from tests.integration.engines.served import CONTEXT, NAME, WHO, Asking
from tests.support.eventually import eventually
from tests.support.llama_server import NONE_HERE, llama_server
from tests.support.processes import is_alive
from tests.support.registries import status_of
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]
SETTINGS = {"alias": [NAME], "context_length": CONTEXT, "slots": 2}


@pytest.fixture(scope="module")
def program() -> str:
    return llama_server() or pytest.skip(NONE_HERE)


def processes(host: ServedHost) -> tuple[int, int]:
    """Return the worker of ``host`` and the program that is its child."""
    (worker,) = host.worker_pids()
    (child,) = psutil.Process(worker).children()
    return worker, child.pid


def test_the_program_of_the_environment_answers_and_its_version_is_told(program: str, start_host: StartHost) -> None:
    host = start_host(environment={SERVER_VARIABLE: program}, **SETTINGS)
    assert Asking(host).text(WHO)
    assert status_of(host, NAME)["engine_version"] == f"llama-server {inspect_program(program).version}"
    assert host.http.post("/v1/embeddings", json={"input": "Hello!"}).status_code == 200
    _, child = processes(host)
    assert psutil.Process(child).exe() == os.path.realpath(program)


@pytest.mark.parametrize("killed", ["worker", "program"])
def test_whichever_is_killed_the_other_ends_and_another_pair_takes_their_place(
    program: str, start_host: StartHost, killed: str
) -> None:
    host = start_host(engine_options={"server": program}, **SETTINGS)
    worker, child = processes(host)
    os.kill(worker if killed == "worker" else child, signal.SIGKILL)
    eventually(lambda: not is_alive(worker) and not is_alive(child), seconds=5)
    # A request that comes before the host has noticed is answered with a crash.
    eventually(lambda: host.http.post("/v1/completions", json={"prompt": "I", "max_tokens": 1}).status_code == 200)
    assert not {worker, child} & set(processes(host))


def test_a_killed_host_leaves_neither(program: str, start_host: StartHost) -> None:
    host = start_host(engine_options={"server": program}, **SETTINGS)
    pair = processes(host)
    host.send_signal(signal.SIGKILL)
    host.wait()
    eventually(lambda: not any(map(is_alive, pair)), seconds=5)
