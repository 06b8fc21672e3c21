"""kill -9 of the host: whatever its worker does at that moment, it ends too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.processes import Family, family, is_alive
from tests.support.raw_http import read_until, send_chat
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]
ENGINES = [{"engine": "scripted"}, {"engine": "llamacpp"}]
ids = [settings["engine"] for settings in ENGINES]


@pytest.mark.parametrize("settings", ENGINES, ids=ids)
def test_an_idle_worker_ends_with_its_host(settings: dict[str, Any], start_host: StartHost) -> None:
    host = start_host(**settings)
    (worker,) = host.worker_pids()
    host.process.kill()
    eventually(lambda: not is_alive(worker))


@pytest.mark.parametrize("settings", ENGINES, ids=ids)
def test_a_generating_worker_ends_with_its_host(settings: dict[str, Any], start_host: StartHost) -> None:
    host = start_host(**settings)
    (worker,) = host.worker_pids()
    options = {"ignore_eos": True, "max_tokens": 1500} if settings["engine"] == "llamacpp" else {}
    with closing(send_chat(host.url, "/tokens 1000 /slow 50", stream=True, **options)) as connection:
        read_until(connection, b"data: ")
        host.process.kill()
        eventually(lambda: not is_alive(worker))


@pytest.mark.parametrize("settings", [{"engine": "scripted", "engine_options": {"load_seconds": 60.0}}, {}])
def test_a_loading_worker_ends_with_its_host(settings: dict[str, Any]) -> None:
    with family(Family.serve(**settings)) as started:
        started.worker()
        started.process.kill()
        eventually(started.is_gone)
