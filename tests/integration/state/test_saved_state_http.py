"""Saving, restoring and clearing over HTTP, with the bundled model on its real engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.serving import ServedHost
from tests.support.session_talk import ask, post, refusal, stored, texts

Start = Callable[..., ServedHost]
STORY = "Please tell me a long story about a llama, a mountain, a river and the people who live beside it. " * 4


def call(host: ServedHost, what: str, **values: Any) -> dict[str, Any]:
    """The result of an operation on states."""
    answer = host.http.post(f"/v1/state/{what}", json=values)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def cached_tokens(host: ServedHost, said: str, session_id: str) -> tuple[int, int]:
    """Of the tokens of a prompt in a session, those that were not evaluated again, and all."""
    usage = post(host, said, session_id=session_id, temperature=0, max_tokens=8).json()["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]


@pytest.fixture
def start(start_host: Start, tmp_path: Path) -> Start:
    """Starts hosts with the bundled model on the same data directory."""

    def begin(**settings: Any) -> ServedHost:
        return start_host(**{"data_dir": str(tmp_path / "data"), **settings})

    return begin


def test_after_a_restart_the_history_is_not_evaluated_again(start: Start) -> None:
    host = start(slots=2)
    ask(host, STORY, "story", temperature=0, max_tokens=40)
    usage = post(host, "Go on.", session_id="story", temperature=0, max_tokens=40).json()["usage"]
    saved = call(host, "save", session_id="label")
    assert (saved["conversations"], saved["models"], saved["prompt_caches"]) == (1, 1, 1)
    host.close()

    host = start(slots=2)
    loaded = call(host, "load", session_id="label", wait=True)
    assert (loaded["restored"]["conversations"], loaded["prompt_caches"]) == (1, 1)
    cached, prompt = cached_tokens(host, "And then?", "story")
    # All but the end of the template, which the first answer's own tokens take the place of.
    assert cached >= usage["prompt_tokens"]
    assert prompt > cached
    host.close()

    host = start(slots=2)
    cached, _ = cached_tokens(host, "And then?", "story")
    assert cached < usage["prompt_tokens"] / 4


@pytest.mark.promise("vllm-crush.load-state")
def test_models_and_their_configuration_come_back_in_a_host_that_has_loaded_none(start: Start, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "models:\n  - {name: one, engine: scripted}\n  - {name: two, engine: scripted}\n", "utf-8"
    )
    settings = {"models_config": str(tmp_path / "models.yaml")}
    host = start(**settings)
    for name in ("one", "two"):
        assert host.http.post("/v1/models/load", json={"model_id": name, "wait": True}).status_code == 200
    host.http.post("/v1/models/config", json={"model_id": "two", "config": {"max_tokens": 3, "seed": 5}})
    host.http.post("/v1/models/select", json={"model_id": "two"})
    call(host, "save", session_id="label", include_metrics=True)
    host.close()

    host = start(**settings)
    assert {model["state"] for model in host.http.get("/v1/models").json()["data"]} == {"unloaded"}
    loaded = call(host, "load", session_id="label")
    assert loaded["success"]
    assert loaded["restored"] == {"models": 2, "conversations": 0, "configurations": 1}
    eventually(lambda: {model["state"] for model in host.http.get("/v1/models").json()["data"]} == {"ready"})
    status = host.http.get("/v1/models/status").json()
    assert status["active_model"] == "two"
    assert {model["name"]: model["defaults"] for model in status["models"]} == {
        "one": {},
        "two": {"max_tokens": 3, "seed": 5},
    }


@pytest.mark.promise("vllm-crush.save-state", "vllm-crush.load-state", "vllm-crush.caching.state")
def test_every_flag_does_what_it_says(start: Start) -> None:
    host = start(engine="scripted")
    ask(host, "/echo yes", "mine")
    host.http.post("/v1/models/config", json={"model_id": "scripted", "config": {"max_tokens": 7}})
    name = host.http.get("/v1/models").json()["data"][0]["id"]
    host.http.post("/v1/models/config", json={"model_id": name, "config": {"max_tokens": 7}})

    small = call(host, "save", session_id="small", include_models=False, include_conversations=False)
    models = call(host, "save", session_id="models", include_conversations=False)
    said = call(host, "save", session_id="said", include_models=False, compression=False)
    assert [(each["models"], each["conversations"]) for each in (small, models, said)] == [(0, 0), (1, 0), (0, 1)]
    states = {each["session_id"]: each["states"][0] for each in host.http.get("/v1/state/sessions").json()["sessions"]}
    assert {name: state["compression"] for name, state in states.items()} == {
        "small": "zstd", "models": "zstd", "said": "none"
    }  # fmt: skip
    assert said["timestamp"].endswith("Z")

    host.http.post("/v1/models/config", json={"model_id": name, "config": {"max_tokens": 9}})
    ask(host, "/echo more", "mine")
    assert call(host, "load", session_id="said")["restored"] == {"models": 0, "conversations": 1, "configurations": 0}
    assert texts(host, "mine") == ["/echo yes", "yes"]
    assert call(host, "load", session_id="models", restore_models=False)["restored"]["configurations"] == 0
    loaded = call(host, "load", state_id=models["state_id"])
    assert (loaded["restored"], loaded["session_id"]) == (
        {"models": 1, "conversations": 0, "configurations": 1}, "models"
    )  # fmt: skip
    assert host.http.get("/v1/models/status").json()["models"][0]["defaults"]["max_tokens"] == 7

    summary = host.http.get("/v1/state/sessions/said/summary").json()
    assert (summary["latest"]["state_id"], summary["conversation"]) == (said["state_id"], None)
    assert host.http.get("/v1/state/sessions/mine/summary").json()["conversation"]["message_count"] == 2
    assert refusal(host.http.get("/v1/state/sessions/none/summary")) == (404, "state_not_found")
    assert refusal(host.http.post("/v1/state/load", json={"state_id": "state-none"})) == (404, "state_not_found")
    assert refusal(host.http.post("/v1/state/save", json={"colour": "red"})) == (400, "unsupported_parameter")

    assert call(host, "clear", older_than_hours=1, include_models=True)["cleared_items"] == 0
    assert call(host, "clear", session_id="mine")["cleared_items"] == 1
    assert stored(host, "mine") == []
    assert call(host, "clear", session_id="models", include_models=True)["cleared_items"] >= 1
    cleared = call(host, "clear", include_models=True)
    assert cleared["cleared_items"] >= 2
    assert cleared["space_freed_bytes"] > 0
    assert host.http.get("/v1/state/sessions").json() == {"sessions": []}


def test_a_damaged_state_is_refused_and_nothing_of_it_restored(start: Start, tmp_path: Path) -> None:
    host = start(engine="scripted")
    for number in range(5):
        ask(host, "/echo yes", f"session-{number}")
    call(host, "save", session_id="label")
    for number in range(5):
        ask(host, "/echo more", f"session-{number}")
    damage(tmp_path / "data" / "modelhost.db")
    answer = host.http.post("/v1/state/load", json={"session_id": "label"})
    assert refusal(answer) == (422, "state_damaged")
    assert [texts(host, f"session-{number}")[2:] for number in range(5)] == [["/echo more", "more"]] * 5


def damage(path: Path) -> None:
    """Change one byte in the middle of every saved state."""
    database = sqlite3.connect(path)
    with database:
        for key, content in database.execute("select rowid, content from snapshots").fetchall():
            middle = len(content) // 2
            changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            database.execute("update snapshots set content = ? where rowid = ?", (changed, key))
    database.close()


@pytest.mark.promise("vllm-crush.batch.state")
def test_requests_go_on_while_a_large_state_is_saved_and_restored(start: Start) -> None:
    host = start(engine="scripted", max_sessions=1000, max_body_mb=100)
    long = [{"role": "user", "content": "x" * 1000}, {"role": "assistant", "content": "y" * 1000}] * 10
    sessions = [{"session_id": f"s{number}", "messages": long} for number in range(300)]
    assert host.http.post("/v1/sessions/import", json={"sessions": sessions}).json()["imported"] == 300
    exported = host.http.post("/v1/sessions/export", json={}).json()
    assert len(exported["sessions"]) == 300
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(lambda: [saved_and_loaded(host) for _ in range(3)])
        answered = 0
        while not work.done():
            assert ask(host, f"/echo {answered}", "meanwhile") == str(answered)
            answered += 1
    assert answered >= 3
    saved, loaded = work.result()[0]
    assert saved["conversations"] in (300, 301)
    assert saved["size_bytes"] < 300 * 20_000 / 5
    assert loaded["restored"]["conversations"] == saved["conversations"]
    assert texts(host, "s1") == [message["content"] for message in long]


def saved_and_loaded(host: ServedHost) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of saving all and restoring it."""
    saved = call(host, "save", session_id="large")
    return saved, call(host, "load", state_id=saved["state_id"])
