"""The registry file changes while the host serves: good changes apply, a broken file changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.registries import chat, load, scripted, state_of, status_of, write_registry
from tests.support.serving import ServedHost

Event = dict[str, Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry") / "models.yaml"


@pytest.fixture(scope="module")
def host(file: Path) -> Iterator[ServedHost]:
    with ServedHost(models_config=write_registry(file, scripted("ant"), scripted("bee"))) as started:
        yield started


@contextmanager
def _registry_events(host: ServedHost) -> Iterator[Iterator[Event]]:
    """The events of the registry as they come: ``next`` waits for one."""
    with host.http.stream("GET", "/v1/models/events") as stream:
        events = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
        assert next(events)["kind"] == "state"  # it is being listened to
        yield (event for event in events if event["kind"] == "registry")


def _registry_error(host: ServedHost) -> str | None:
    error: str | None = host.http.get("/v1/models/status").json()["registry_error"]
    return error


def _worker_of(host: ServedHost, model: str) -> int:
    """The process of the worker that ``model`` has got last."""
    return int([entry["pid"] for entry in host.log_events("worker_ready") if entry["model"] == model][-1])


def _names(host: ServedHost) -> list[str]:
    return sorted(card["id"] for card in host.http.get("/v1/models").json()["data"])


def test_a_broken_file_changes_nothing_is_reported_and_mended_without_a_restart(host: ServedHost, file: Path) -> None:
    load(host, "ant")
    workers = host.worker_pids()
    assert host.metric("modelhost_registry_ok") == 1
    with _registry_events(host) as events:
        file.write_text("models: [{name: ant, engine: scripted, pined: true}")
        eventually(lambda: _registry_error(host))
        assert "models.yaml" in str(_registry_error(host))
        assert host.metric("modelhost_registry_ok") == 0
        assert _names(host) == ["ant", "bee"]
        assert chat(host, "ant").status_code == 200
        assert chat(host, "bee").status_code == 200
        assert set(workers) < set(host.worker_pids())
        assert next(events)["message"] == _registry_error(host)
        # Well-formed, and wrong: another reason.
        file.write_text("models: [{name: ant, engine: scripted, pined: true}]")
        assert 'did you mean "pinned"' in next(events)["message"]
        assert 'did you mean "pinned"' in str(_registry_error(host))
        file.unlink()
        assert "models.yaml" in next(events)["message"]
        assert chat(host, "ant").status_code == 200
        write_registry(file, scripted("ant"), scripted("bee"), scripted("cat"))
        assert next(events)["message"] is None
        assert _registry_error(host) is None
        assert host.metric("modelhost_registry_ok") == 1
        assert chat(host, "cat").status_code == 200
    assert set(workers) < set(host.worker_pids())
    assert len(host.log_events("registry_refused")) == 3


def test_entries_aliases_defaults_and_settings_change_while_requests_go_on(host: ServedHost, file: Path) -> None:
    write_registry(file, scripted("ant"), scripted("bee"))
    eventually(lambda: _names(host) == ["ant", "bee"])
    load(host, "ant")
    eventually(lambda: len(host.worker_pids()) <= 2)
    worker = _worker_of(host, "ant")
    with closing(send_chat(host.url, "/tokens 60 /slow 20", stream=True, model="bee")) as stream:
        read_until(stream, b"data: ")
        ant = scripted("ant", aliases=["formica"], notes="mind the queen", params={"max_tokens": 3})
        write_registry(file, ant, scripted("cat", options={"text": "meow"}), default_model="cat")
        eventually(lambda: _names(host) == ["ant", "cat"])
        gone = chat(host, "bee")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")
        assert len(host.worker_pids()) == 2
        answer = chat(host, "formica", "/tokens 50").json()
        assert (answer["model"], answer["usage"]["completion_tokens"]) == ("ant", 3)
        assert status_of(host, "ant")["notes"] == "mind the queen"
        assert worker in host.worker_pids()
        # Requests without a name go to the new default.
        unnamed = host.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]})
        assert unnamed.json()["choices"][0]["message"]["content"].strip() == "meow"
        assert b"data: [DONE]" in read_all(stream)
    # The entry that was removed has gone with its last request.
    eventually(lambda: len(host.worker_pids()) == 2)
    assert not host.log_events("worker_lost")
    # Another text is another worker.
    write_registry(file, scripted("ant"), scripted("cat", options={"text": "purr"}))
    eventually(lambda: state_of(host, "cat") == "unloaded")
    assert chat(host, "cat").json()["choices"][0]["message"]["content"].strip() == "purr"
    assert chat(host, "ant", "/tokens 5").json()["usage"]["completion_tokens"] == 5
    assert worker in host.worker_pids()
