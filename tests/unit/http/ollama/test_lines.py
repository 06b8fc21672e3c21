"""Lines of streams, and errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelhost import errors
from modelhost.http.ollama.lines import END, KEEP_ALIVE, error_block, line_of, now, ollama_error
from modelhost.http.ollama.paths import BLOBS, PATHS, is_ollama_path

TEXTS = ["a", "h\u00e9", "\u6f22\u5b57", "a\nb\r\nc", "a\x85b\u2028c\u2029d", "\x1c\x1d\x1e\x0b\x0c"]


@pytest.mark.parametrize("text", TEXTS)
def test_an_object_is_one_line_by_anybodys_idea_of_lines(text: str) -> None:
    line = line_of({"text": text}).decode()
    assert line.splitlines(keepends=True) == [line]
    assert json.loads(line) == {"text": text}


def test_the_last_line_of_an_answer_has_a_known_end() -> None:
    assert line_of({"response": '"done":true}', "done": True}).endswith(END)
    assert not line_of({"response": '"done":true}', "done": False}).endswith(END)


def test_what_keeps_a_stream_alive_is_part_of_the_next_line() -> None:
    assert json.loads(KEEP_ALIVE * 3 + line_of({"done": True})) == {"done": True}
    assert b"\n" not in KEEP_ALIVE


def test_a_time_has_a_fraction_and_is_in_utc() -> None:
    written = now()
    assert written.endswith("Z")
    assert "." in written
    assert datetime.now(UTC) - datetime.fromisoformat(written) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ModelNotFound("There is none.", param="model"), 404),
        (errors.InvalidRequest("It is wrong.", param="options.top_k"), 400),
        (errors.QueueFull("All wait.", retry_after_seconds=3), 503),
        (errors.WorkerCrashed("It died.", model="m", worker="w"), 502),
    ],
)
def test_an_error_is_a_text_with_the_hosts_fields_beside_it(error: errors.ModelhostError, status: int) -> None:
    found, headers, body = ollama_error(error)
    answer: dict[str, Any] = json.loads(body)
    assert (found, answer["error"], answer["code"], answer["param"]) == (status, error.message, error.code, error.param)
    assert answer.keys() == {"error", "code", "param", "source", "details"}
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert (b"retry-after" in dict(headers)) is (status == 503)


def test_an_error_in_a_stream_is_its_last_line() -> None:
    line = error_block(errors.InvalidRequest("It is\u2028wrong."))
    assert line.endswith(b"\n")
    assert json.loads(line)["error"] == "It is\u2028wrong."
    assert not line.endswith(END)


def test_all_paths_of_the_door_are_known() -> None:
    assert all(map(is_ollama_path, (*PATHS, f"{BLOBS}sha256:0", "/api/nothing")))
    assert not any(map(is_ollama_path, ("/", "/v1/models", "/apis", "/api")))
