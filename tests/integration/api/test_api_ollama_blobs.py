"""Files that are uploaded for models over Ollama's API."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.ollama import (
    QUESTION,
    Start,
    blobs,
    create,
    digest_of,
    done,
    names,
    post,
    show,
    start,
    upload,
    uploaded,
)
from tests.support.serving import ServedHost

NOTES = "x-modelhost-notes"


@pytest.fixture
def host(start_host: Start, tmp_path: Path) -> ServedHost:
    return start(start_host, tmp_path)


def test_a_file_is_there_once_it_has_been_uploaded(host: ServedHost, tmp_path: Path) -> None:
    content = b"GGUF" * 100_000
    path = f"/api/blobs/{digest_of(content)}"
    assert host.http.head(path).status_code == 404
    assert upload(host, content).status_code == 201
    assert host.http.head(path).status_code == 200
    assert upload(host, content).status_code == 201
    assert blobs(tmp_path) == [digest_of(content).replace(":", "-")]


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "sha256:0", "nothing"])
def test_a_file_that_is_not_what_its_digest_says_is_refused(host: ServedHost, tmp_path: Path, digest: str) -> None:
    answer = upload(host, b"GGUF", digest)
    assert (answer.status_code, answer.json()["param"]) == (400, "digest")
    assert blobs(tmp_path) == []


def test_a_file_over_the_limit_is_refused(start_host: Start, tmp_path: Path) -> None:
    host = start(start_host, tmp_path, max_blob_gb=1e-6)
    answer = upload(host, b"G" * 1001)
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert "--max-blob-gb" in answer.json()["error"]
    assert upload(host, b"G" * 1000).status_code == 201


def test_a_host_that_is_killed_during_an_upload_keeps_nothing_of_it(start_host: Start, tmp_path: Path) -> None:
    host = start(start_host, tmp_path)
    kept = uploaded(host)
    with begin_upload(host):
        eventually(lambda: len(blobs(tmp_path)) == 2)
        host.send_signal(signal.SIGKILL)
        host.wait()
    again = start(start_host, tmp_path)
    assert blobs(tmp_path) == [kept.replace(":", "-")]
    create(again, "mine", files={"nano.gguf": kept})


def test_a_client_that_leaves_during_an_upload_leaves_nothing(host: ServedHost, tmp_path: Path) -> None:
    with begin_upload(host):
        eventually(lambda: len(blobs(tmp_path)) == 1)
    eventually(lambda: not blobs(tmp_path))


def begin_upload(host: ServedHost) -> socket.socket:
    """Send half of a file, and leave the connection open."""
    url = httpx2.URL(host.url)
    connection = socket.create_connection((url.host, url.port or 0))
    digest = "sha256:" + "a" * 64
    head = f"POST /api/blobs/{digest} HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 1000000\r\n\r\n"
    connection.sendall(head.encode() + b"G" * 500_000)
    return connection


def test_what_was_made_is_there_after_a_kill(start_host: Start, tmp_path: Path) -> None:
    host = start(start_host, tmp_path)
    create(host, "mine", files={"nano.gguf": uploaded(host)}, system="Be brief.", parameters={"num_predict": 3})
    host.send_signal(signal.SIGKILL)
    host.wait()
    again = start(start_host, tmp_path)
    assert names(again) == ["modelhost-nano:latest", "mine:latest"]
    assert show(again, "mine")["system"] == "Be brief."
    made = done(post(again, "chat", model="mine", messages=QUESTION, stream=False))
    assert made["eval_count"] == 3


def test_many_changes_at_once_leave_every_model_whole(host: ServedHost) -> None:
    def make(number: int) -> None:
        create(host, f"mine:{number}", **{"from": "modelhost-nano", "system": f"Number {number}"})

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(host))[:8] == [f"mine:{number}" for number in range(8)]
    assert show(host, "mine:5")["system"] == "Number 5"
