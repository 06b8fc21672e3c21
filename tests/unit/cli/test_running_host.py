"""Which host and key count: those of options, of the environment, of ``.env``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelhost.cli.main import main
from modelhost.cli.running_host import NamedHost, RunningHost, named_host
from modelhost.client.connections import error_in
from modelhost.errors import ConfigError, HostUnreachable, ModelNotFound, QueueFull, WorkerCrashed
from modelhost.exchange.events import Piece, Text


def dotenv(*lines: str) -> None:
    Path(".env").write_text("\n".join(lines))


def test_dotenv_names_the_host_and_its_key_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_host(None, None) == NamedHost(url=None, api_key=None)
    dotenv("MODELHOST_URL=http://box:1", "MODELHOST_API_KEY=a")
    assert named_host(None, None) == NamedHost(url="http://box:1", api_key="a")
    monkeypatch.setenv("MODELHOST_URL", "http://box:2")
    monkeypatch.setenv("MODELHOST_API_KEY", "b")
    assert named_host(None, None) == NamedHost(url="http://box:2", api_key="b")
    assert named_host("http://box:3", "c") == NamedHost(url="http://box:3", api_key="c")


def test_the_key_of_a_host_that_was_served_here_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv("MODELHOST_API_KEY=a")
    assert named_host(None, None) == NamedHost(url=None, api_key="a")
    assert named_host("http://box:3", None) == NamedHost(url="http://box:3", api_key="a")
    monkeypatch.setenv("MODELHOST_API_KEY", "b")
    assert named_host(None, None).api_key == "b"


def test_a_key_of_the_environment_is_not_sent_where_a_file_of_the_directory_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODELHOST_API_KEY", "mine")
    dotenv("MODELHOST_URL=http://elsewhere:1")
    assert named_host(None, None) == NamedHost(url="http://elsewhere:1", api_key=None)
    assert named_host(None, "given").api_key == "given"
    assert named_host("http://box:3", None).api_key == "mine"


def test_a_key_is_in_no_representation() -> None:
    assert "sesame" not in repr(named_host("http://box:1", "sesame"))


def test_the_variables_of_vllms_mcp_server_count_in_dotenv_and_give_way_to_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dotenv("VLLM_MAX_MODEL_LEN=of-the-file")
    assert main(["mcp"]) == 1
    assert 'VLLM_MAX_MODEL_LEN: expected an integer of 16 or more, got "of-the-file"' in capsys.readouterr().err
    monkeypatch.setenv("VLLM_MAX_MODEL_LEN", "of-the-environment")
    assert main(["mcp"]) == 1
    assert 'got "of-the-environment"' in capsys.readouterr().err


MESSAGES = [{"role": "user", "content": "Hi"}]


def text_of(remote: RunningHost) -> str:
    return "".join(text_in(piece) for piece in remote.stream(MESSAGES, {"model": "first"}))


def text_in(piece: Piece) -> str:
    return "".join(event.text for event in piece if isinstance(event, Text))


def test_a_stream_is_given_chunk_by_chunk(host: Any) -> None:
    assert text_of(RunningHost(host.url)) == "Hello."
    path, _, body = host.requests[-1]
    assert path == "/v1/chat/completions"
    assert body == {"model": "first", "messages": MESSAGES, "stream": True}


def test_comments_and_extension_events_in_a_stream_are_skipped(host: Any, stream_event: Callable[..., bytes]) -> None:
    host.answer.stream = [b": keep-alive\n\n", stream_event({"tool": "x"}, "tool_result"), *host.answer.stream]
    assert text_of(RunningHost(host.url)) == "Hello."


def test_text_split_within_a_character_and_within_a_line_is_put_together(host: Any) -> None:
    whole = b"".join(host.answer.stream).replace(b"Hel", "Hé😀l".encode())
    host.answer.stream = [whole[i : i + 1] for i in range(len(whole))]
    assert text_of(RunningHost(host.url)) == "Hé😀llo."


def test_the_key_is_sent_as_a_bearer_token(host: Any) -> None:
    RunningHost(host.url, "sesame").complete(MESSAGES, {"model": "first"})
    assert host.requests[-1][1]["Authorization"] == "Bearer sesame"


def test_models_are_listed(host: Any) -> None:
    assert RunningHost(host.url).models() == ["first", "second"]


@pytest.mark.parametrize(("name", "expected"), [("modelhost", True), ("other", False)])
def test_only_a_modelhost_is_taken_for_one(host: Any, name: str, expected: bool) -> None:
    host.name = name
    assert RunningHost(host.url).is_modelhost() is expected


def test_an_error_object_becomes_the_error_that_the_host_raised(host: Any) -> None:
    host.answer.status = 404
    host.answer.body = {"error": {"message": "there is no model x", "code": "model_not_found"}}
    with pytest.raises(ModelNotFound, match=r"^there is no model x$"):
        text_of(RunningHost(host.url))


def test_an_error_status_without_an_error_object_names_the_status(host: Any) -> None:
    host.answer.status, host.answer.raw_body = 502, b"<html>"
    with pytest.raises(HostUnreachable, match="HTTP status 502"):
        RunningHost(host.url).complete(MESSAGES, {})


def test_an_answer_that_is_not_json_is_an_error(host: Any) -> None:
    host.answer.raw_body = b"<html>"
    with pytest.raises(HostUnreachable, match="is it a modelhost"):
        RunningHost(host.url).complete(MESSAGES, {})


def test_an_error_event_in_mid_stream_is_raised_after_the_text_before_it(
    host: Any, stream_event: Callable[..., bytes]
) -> None:
    source = {"kind": "worker", "model": "nano", "worker": "nano-1"}
    error = {"error": {"message": "the worker ended", "code": "worker_crashed", "source": source}}
    host.answer.stream = [host.answer.stream[0], stream_event(error, "error")]
    chunks = RunningHost(host.url).stream(MESSAGES, {})
    assert text_in(next(chunks)) == "Hel"
    with pytest.raises(WorkerCrashed, match="the worker ended") as caught:
        next(chunks)
    assert caught.value.source == source


@pytest.mark.parametrize("breaks_off", [True, False])
def test_a_stream_that_ends_without_done_is_an_error(host: Any, breaks_off: bool) -> None:
    host.answer.stream, host.answer.breaks_off = host.answer.stream[:1], breaks_off
    chunks = RunningHost(host.url).stream(MESSAGES, {})
    next(chunks)
    with pytest.raises(HostUnreachable, match="went away in the middle"):
        next(chunks)


@pytest.mark.parametrize("data", [b"data: <html>\n\n", b"data: [1]\n\n"])
def test_a_stream_of_something_else_is_an_error(host: Any, data: bytes) -> None:
    host.answer.stream = [data]
    with pytest.raises(HostUnreachable, match="something else than an answer"):
        text_of(RunningHost(host.url))


def test_a_server_that_lists_no_models_is_an_error(host: Any) -> None:
    host.models = None
    with pytest.raises(HostUnreachable, match="lists no models"):
        RunningHost(host.url).models()


@pytest.mark.parametrize("key", ["ключ", "a\nb"])
def test_a_key_that_http_cannot_carry_is_a_sentence(host: Any, key: str) -> None:
    with pytest.raises(ConfigError, match="characters that HTTP does not allow"):
        RunningHost(host.url, key).models()


def test_no_answer_at_the_address_says_how_to_start_a_host() -> None:
    with pytest.raises(HostUnreachable, match="modelhost serve"):
        RunningHost("http://127.0.0.1:9").models()
    assert RunningHost("http://127.0.0.1:9").is_modelhost() is False


@pytest.mark.parametrize("answer", [{}, {"error": None}, [], "text", {"choices": []}])
def test_an_answer_without_an_error_holds_none(answer: Any) -> None:
    assert error_in(answer) is None


def test_errors_keep_their_message_whatever_their_code() -> None:
    assert isinstance(error_in({"error": {"message": "full", "code": "queue_full"}}), QueueFull)
    unknown = error_in({"error": {"message": "odd", "code": "from_the_future"}})
    assert (type(unknown), str(unknown)) == (HostUnreachable, "odd")
    assert str(error_in({"error": "plain"})) == "plain"
