"""Loading and unloading real workers: what is asked for happens, and the memory comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelhost.config.settings import Settings
from modelhost.models.registry.registry import read_registry
from modelhost.models.resolve.resolve import resolve
from tests.support.eventually import eventually
from tests.support.gguf_files import write_model
from tests.support.processes import is_alive
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.registries import chat, load, nano, scripted, state_of, status_of, unload, write_registry
from tests.support.serving import ServedHost

MB = 1_000_000


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    """A host of scripts that all fit, each with its own ways."""
    entries = (
        scripted("ant", options={"load_seconds": 1.2, "load_progress": 4}),
        scripted("bee", options={"load_seconds": 1.0}, queue_size=2, request_timeout=0.3),
        scripted("cat", idle_unload_secs=0.5),
        scripted("dog", stall_timeout=1.0),
        scripted("eel", max_in_flight=1),
        scripted("fly", options={"fail_load": "no luck"}),
    )
    path = write_registry(tmp_path_factory.mktemp("unloading") / "models.yaml", *entries)
    with ServedHost(models_config=path, keep_alive_interval=0.2) as host:
        yield host


def _taken_bytes(host: ServedHost) -> int:
    """What the host takes without its workers, swapped or not."""
    memory = psutil.Process(host.pid).memory_full_info()
    return int(memory.rss + getattr(memory, "swap", 0))


# Real models.


def test_a_reload_reads_what_has_become_of_the_file(tmp_path: Path) -> None:
    model = write_model(tmp_path / "ant.gguf", context_length=512)
    path = write_registry(tmp_path / "models.yaml", {"name": "ant", "local_path": str(model)})
    with ServedHost(models_config=path) as host:
        load(host, "ant")
        assert status_of(host, "ant")["context_length"] == 512
        unload(host, "ant")
        write_model(model, context_length=256)
        load(host, "ant")
        assert status_of(host, "ant")["context_length"] == 256
        unload(host, "ant")
        model.unlink()
        gone = chat(host, "ant", max_tokens=2)
        assert gone.status_code == 503
        assert "ant.gguf: there is no such file" in gone.text


def test_what_20_loads_have_taken_is_back_after_20_unloads(tmp_path: Path) -> None:
    path = write_registry(tmp_path / "models.yaml", nano("ant"), nano("bee"))

    def cycle(host: ServedHost) -> None:
        assert chat(host, "ant", max_tokens=2).status_code == 200
        (worker,) = host.worker_pids()
        assert unload(host, "ant").json()["memory_freed_mb"] > 5  # the weights alone
        assert not is_alive(worker)
        assert psutil.Process(host.pid).children(recursive=True) == []

    with ServedHost(models_config=path) as host:
        for _ in range(2):
            cycle(host)
        # The first notes in the audit log have brought the libraries of the database with them by now.
        eventually(lambda: len(host.http.get("/v1/audit").json()["entries"]) >= 2)
        descriptors, before = psutil.Process(host.pid).num_fds(), _taken_bytes(host)
        for _ in range(20):
            cycle(host)
        assert _taken_bytes(host) - before < 10 * MB
        assert psutil.Process(host.pid).num_fds() <= descriptors + 2
        assert host.metric("modelhost_model_loads_total", model="ant") == 22
        assert host.metric("modelhost_model_memory_bytes", model="ant") == 0
        assert host.http.get("/v1/models/status").json()["memory"]["ram"]["used_bytes"] == 0
        assert len(host.log_events("model_unloaded")) == 22
        _two_clients_of_an_unloaded_model_share_its_load(host)


def _two_clients_of_an_unloaded_model_share_its_load(host: ServedHost) -> None:
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(chat, host, "bee", max_tokens=2) for _ in range(2)]
        assert [each.result().status_code for each in asked] == [200, 200]
    assert {each.result().headers["x-queue-position"] for each in asked} == {"1", "2"}
    assert host.metric("modelhost_model_loads_total", model="bee") == 1
    assert len(host.worker_pids()) == 1


@pytest.mark.promise("vllm-crush.security.limits")
def test_memory_is_a_budget_the_unused_make_room_and_pinned_models_stay(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    path = write_registry(file, nano("ant", pinned=True), nano("bee"), nano("cat"))
    (entry, *_) = read_registry(file, Settings()).entries
    need = resolve(entry.settings).need_bytes["ram"]
    budget = int(2.5 * need)
    with ServedHost(models_config=path, memory_budget=str(budget)) as host:
        for model in ("bee", "cat", "bee"):
            assert chat(host, model, max_tokens=2).status_code == 200
            memory = host.http.get("/v1/models/status").json()["memory"]["ram"]
            assert (memory["budget_bytes"], memory["used_bytes"] <= budget) == (budget, True)
        assert {name: state_of(host, name) for name in ("ant", "bee", "cat")} == {
            "ant": "ready",
            "bee": "ready",
            "cat": "unloaded",
        }
        assert len(host.worker_pids()) == 2
        assert status_of(host, "ant")["memory_bytes"]["ram"] > 5 * MB
        # With both places taken by pinned models there is none for the third.
        write_registry(file, nano("ant", pinned=True), nano("bee", pinned=True), nano("cat"))
        eventually(lambda: status_of(host, "bee")["is_pinned"])
        answer = chat(host, "cat")
        assert (answer.status_code, "retry-after" in answer.headers) == (507, True)
        error = answer.json()["error"]
        assert error["code"] == "insufficient_memory"
        assert 0 < error["details"]["missing_mb"]["ram"] <= need / MB + 1
        assert error["details"]["holders"].keys() == {"ant", "bee"}
        assert "MB of ram missing" in error["message"]
        assert len(host.worker_pids()) == 2


# Scripts.


def test_loading_says_what_it_takes_and_the_status_follows(scripts: ServedHost) -> None:
    begun = scripts.http.post("/v1/models/load", json={"model_id": "ant"}).json()
    assert (begun["success"], begun["status"], begun["state"]) == (True, "loading", "loading")
    eventually(lambda: (status_of(scripts, "ant")["progress"] or 0) >= 0.5)
    assert status_of(scripts, "ant")["activity"] == "load"
    assert load(scripts, "ant")["status"] == "loaded"
    assert unload(scripts, "ant").json()["status"] == "unloaded"
    again = scripts.http.post("/v1/models/load", json={"model_id": "ant"}).json()
    assert again["estimated_load_time"] >= 1.2  # as it was the last time
    load(scripts, "ant")
    assert unload(scripts, "ant").json()["memory_freed_mb"] > 1


@pytest.mark.promise("candle-vllm.switching")
def test_requests_that_waited_say_at_which_place_and_streams_are_kept_alive_meanwhile(scripts: ServedHost) -> None:
    with closing(send_chat(scripts.url, "/echo me", stream=True, model="ant")) as connection:
        eventually(lambda: state_of(scripts, "ant") == "loading")
        second = chat(scripts, "ant")
        answer = read_all(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-queue-position: 1" in head.lower()
    assert body.partition(b"data: ")[0].count(b": keep-alive") >= 2
    assert b"data: [DONE]" in body
    assert second.headers["x-queue-position"] == "2"
    assert "x-queue-position" not in chat(scripts, "ant").headers
    unload(scripts, "ant")


def _told(host: ServedHost, model: str) -> list[dict[str, Any]]:
    """What a client that wants to know is told, of a request that may have to wait."""
    body = {"model": model, "messages": [{"role": "user", "content": "/echo me"}], "stream": True}
    body["stream_options"] = {"include_progress": True}
    events = host.http.post("/v1/chat/completions", json=body).text.split("\n\n")
    return [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]


def test_a_stream_tells_what_its_request_waits_for_where_the_client_wants_to_know(scripts: ServedHost) -> None:
    told = _told(scripts, "ant")
    assert told[0]["modelhost.queued"] == {"position": 1}
    loading = [each["modelhost.loading"].get("progress") for each in told if "modelhost.loading" in each]
    assert loading[0] is None
    assert loading[1:] == sorted(loading[1:])
    assert len(loading) >= 3
    assert not any(choice["delta"] for each in told[: len(loading) + 1] for choice in each["choices"])
    text = "".join(choice["delta"].get("content") or "" for each in told for choice in each["choices"])
    assert text.strip() == "me"
    assert len({each["id"] for each in told}) == 1
    assert not [each for each in _told(scripts, "ant") if "modelhost.queued" in each or "modelhost.loading" in each]
    unload(scripts, "ant")


def test_who_leaves_while_being_told_waits_no_longer(scripts: ServedHost) -> None:
    options = {"stream": True, "stream_options": {"include_progress": True}}
    with closing(send_chat(scripts.url, "/echo me", model="ant", **options)) as connection:
        read_until(connection, b"modelhost.loading")
    eventually(lambda: status_of(scripts, "ant")["queue_length"] == 0)
    eventually(lambda: state_of(scripts, "ant") == "ready")
    assert status_of(scripts, "ant")["in_flight"] == 0
    unload(scripts, "ant")


def test_a_load_that_fails_ends_what_is_told(scripts: ServedHost) -> None:
    *_, failed = _told(scripts, "fly")
    assert failed["error"]["code"] == "model_failed"


@pytest.mark.promise("candle-vllm.flags.queue-size")
def test_a_full_queue_refuses_at_once_and_loading_is_not_counted_as_waiting(scripts: ServedHost) -> None:
    with ThreadPoolExecutor(5) as clients:
        asked = [clients.submit(chat, scripts, "bee") for _ in range(5)]
        answers = [answer.result() for answer in as_completed(asked)]
    # Those that were refused did not wait for the load, which takes longer than a request may wait.
    assert [(answer.status_code, answer.headers.get("retry-after", "")) for answer in answers] == [
        *[(503, "1")] * 3,
        *[(200, "")] * 2,
    ]


def test_an_idle_model_is_unloaded_and_loaded_again_when_it_is_asked_for(scripts: ServedHost) -> None:
    assert chat(scripts, "cat", "/tokens 12 /slow 10").status_code == 200  # longer than it may be idle
    eventually(lambda: state_of(scripts, "cat") == "unloaded")
    (entry,) = [entry for entry in scripts.log_events("model_unloaded") if entry["model"] == "cat"]
    assert entry["reason"] == "idle"
    assert chat(scripts, "cat").status_code == 200
    assert status_of(scripts, "cat")["loads"] == 2


def test_a_worker_that_hangs_is_ended_its_requests_are_told_and_it_comes_back(scripts: ServedHost) -> None:
    load(scripts, "dog")
    # An answer that comes slowly is no hang.
    assert chat(scripts, "dog", "/tokens 6 /slow 5").status_code == 200
    with closing(send_chat(scripts.url, "/hang 2", stream=True, model="dog")) as stream:
        read_until(stream, b"data: ")
        rest = read_all(stream)
    event = json.loads(rest[rest.rindex(b"data: {") + 6 :].splitlines()[0])
    assert event["error"]["code"] == "worker_crashed"
    assert "produced nothing for" in event["error"]["message"]
    assert event["error"]["details"]["reason"] == "stalled"
    assert chat(scripts, "dog").status_code == 200
    assert len(scripts.log_events("worker_stalled")) == 1


def test_unloading_by_force_tells_the_requests_at_work_and_those_that_wait(scripts: ServedHost) -> None:
    load(scripts, "eel")
    with closing(send_chat(scripts.url, "/hang 2", stream=True, model="eel")) as stream, ThreadPoolExecutor(1) as other:
        read_until(stream, b"data: ")
        waiting = other.submit(chat, scripts, "eel")
        eventually(lambda: status_of(scripts, "eel")["queue_length"] == 1)
        refused = unload(scripts, "eel")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_busy")
        assert refused.json()["error"]["details"] == {"model": "eel", "in_flight": 1, "queue_length": 1}
        forced = unload(scripts, "eel", force=True)
        assert (forced.status_code, forced.json()["success"]) == (200, True)
        assert state_of(scripts, "eel") == "unloaded"
        assert b'"code":"model_unloaded"' in read_all(stream)
        answer = waiting.result()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unloaded")
    assert chat(scripts, "eel").status_code == 200
    eventually(lambda: scripts.metric("modelhost_requests_in_flight", model="eel") == 0)


def test_a_client_that_leaves_while_its_model_loads_gives_up_its_place(scripts: ServedHost) -> None:
    unload(scripts, "ant")
    with closing(send_chat(scripts.url, "hello", model="ant")):
        eventually(lambda: scripts.metric("modelhost_queue_length", model="ant") == 1)
    eventually(lambda: status_of(scripts, "ant")["queue_length"] == 0, seconds=1.0)
    assert state_of(scripts, "ant") == "loading"
    assert chat(scripts, "ant").headers["x-queue-position"] == "1"
    eventually(lambda: scripts.metric("modelhost_requests_in_flight", model="ant") == 0)
    assert scripts.metric("modelhost_queue_length", model="ant") == 0
