"""Sessions when hosts end, begin again and share a database, and when the database does not work."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.postgres import PostgresServer
from tests.support.serving import ServedHost, ServeFailed
from tests.support.session_talk import ask, ask_streaming, post, refusal, texts

Start = Callable[..., ServedHost]


@pytest.fixture
def start(start_host: Start, tmp_path: Path) -> Start:
    """Starts hosts with the scripted engine on the same data directory."""

    def begin(**settings: Any) -> ServedHost:
        return start_host(**{"engine": "scripted", "data_dir": str(tmp_path / "data"), **settings})

    return begin


def test_a_session_outlives_its_host(start: Start, tmp_path: Path) -> None:
    host = start()
    assert not (tmp_path / "data").exists()  # who keeps nothing needs no database
    ask(host, "/echo one", "kept")
    host.close()
    host = start()
    ask_streaming(host, "/echo two", "kept")
    assert texts(host, "kept") == ["/echo one", "one", "/echo two", "two"]


def test_a_session_on_any_database_outlives_its_host(start: Start, database_url: str) -> None:
    host = start(database_url=database_url)
    ask(host, "/echo one", "kept")
    host.close()
    assert ask(start(database_url=database_url), "/echo two", "kept") == "two"


def test_two_hosts_on_one_database_add_to_the_same_session(start: Start, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    hosts = [start(database_url=url) for _ in range(2)]
    count = 20
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda n: ask(hosts[n % 2], f"/echo {n}", "shared"), range(count)))
    assert answers == [str(number) for number in range(count)]
    said = texts(hosts[0], "shared")
    assert said == texts(hosts[1], "shared")
    assert sorted(said[1::2], key=int) == answers
    assert said[::2] == [f"/echo {answer}" for answer in said[1::2]]


def test_a_session_that_another_host_keeps_is_busy(start: Start, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    one, other = start(database_url=url), start(database_url=url, session_timeout=0.5)
    body = {"messages": [{"role": "user", "content": "/tokens 500 /slow 20"}], "stream": True, "session_id": "shared"}
    with one.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert refusal(post(other, "Hi", session_id="shared")) == (409, "session_busy")
    assert ask(other, "/echo yes", "shared") == "yes"


def test_a_session_of_a_killed_host_can_be_used_at_once(start: Start, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    one, other = start(database_url=url), start(database_url=url)
    ask(one, "/echo one", "mine")
    body = {"messages": [{"role": "user", "content": "/tokens 500 /slow 20"}], "stream": True, "session_id": "mine"}
    with one.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        one.process.kill()
        one.process.wait()
    assert ask(other, "/echo two", "mine") == "two"
    assert texts(other, "mine") == ["/echo one", "one", "/echo two", "two"]


# A database that does not work.


def check_that_it_goes_on_without(host: ServedHost, *, can_read: bool = False) -> None:
    for is_streamed in (False, True):
        answer = post(host, "Hi", session_id="none", stream=is_streamed)
        assert refusal(answer) == (503, "database_unavailable")
    listed = host.http.get("/v1/sessions")
    assert listed.status_code == 200 if can_read else refusal(listed) == (503, "database_unavailable")
    assert refusal(host.http.post("/v1/state/save", json={})) == (503, "database_unavailable")
    assert post(host, "/echo yes").json()["choices"][0]["message"]["content"] == "yes"
    assert host.http.get("/v1/models/status").status_code == 200
    assert host.http.get("/health").status_code == 200


def test_with_a_broken_database_requests_without_a_session_are_answered(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "modelhost.db").write_bytes(b"this is no database" * 1000)
    check_that_it_goes_on_without(start())


def test_with_a_data_directory_that_cannot_be_made_requests_are_answered(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", "utf-8")
    host = start()
    check_that_it_goes_on_without(host)
    (tmp_path / "data").unlink()
    assert ask(host, "/echo yes", "works again") == "yes"


def test_a_database_that_becomes_read_only_is_a_clear_error(start: Start, tmp_path: Path) -> None:
    """As root every file can be written, so it is the database that says no."""
    host = start()
    ask(host, "/echo yes", "mine")
    host.close()
    file = tmp_path / "data" / "modelhost.db"
    database = sqlite3.connect(file)
    database.execute("pragma journal_mode = delete")
    database.close()
    host = start(database_url=f"sqlite:///{file}?mode=ro") if not os.geteuid() else start()
    if os.geteuid():
        file.chmod(0o400)
        file.parent.chmod(0o500)
    try:
        check_that_it_goes_on_without(host, can_read=True)
    finally:
        file.parent.chmod(0o700)


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="only Linux lets us limit another process")
def test_a_full_disk_is_a_clear_error_and_not_the_end(start: Start, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    host = start()
    ask(host, "/echo yes", "mine")
    size = sum(file.stat().st_size for file in (tmp_path / "data").iterdir())
    process = psutil.Process(host.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (size, before[1]))
    answers = [post(host, f"/echo {'x' * 100_000}", session_id="mine") for _ in range(20)]
    failed = [refusal(answer) for answer in answers if answer.status_code != 200]
    assert failed
    assert set(failed) == {(503, "database_unavailable")}
    assert post(host, "/echo yes").json()["choices"][0]["message"]["content"] == "yes"
    process.rlimit(psutil.RLIMIT_FSIZE, before)
    assert ask(host, "/echo again", "mine") == "again"
    said = texts(host, "mine")
    assert said[:2] == ["/echo yes", "yes"]
    assert len(said) == 4 + 2 * (len(answers) - len(failed))


def test_a_database_that_is_named_and_not_there_ends_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    for url in (f"sqlite:///{tmp_path}/file/modelhost.db", "postgresql://nobody:secret@127.0.0.1:9/nothing"):
        with pytest.raises(ServeFailed) as caught:
            start(database_url=url)
        assert caught.value.returncode == 1
        assert "database_unavailable" in caught.value.stderr
        assert "secret" not in caught.value.stderr
        assert "Traceback" not in caught.value.stderr
