"""The client of a running host, against a real socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelhost.cli.event_stream import Event, events
from modelhost.cli.remote import RemoteHost, normal_url
from modelhost.errors import ConfigError, HostUnreachable, ModelNotFound, QueueFull, WorkerCrashed
from modelhost.operations.host_errors import error_in

MESSAGES = [{"role": "user", "content": "Hi"}]


def text_of(remote: RemoteHost) -> str:
    return "".join(part["choices"][0]["delta"]["content"] for part in remote.stream(MESSAGES, {"model": "first"}))


def test_a_stream_is_given_chunk_by_chunk(host: Any) -> None:
    assert text_of(RemoteHost(url=host.url)) == "Hello."
    path, _, body = host.requests[-1]
    assert path == "/v1/chat/completions"
    assert body == {"model": "first", "messages": MESSAGES, "stream": True}


def test_comments_and_extension_events_in_a_stream_are_skipped(host: Any, stream_event: Callable[..., bytes]) -> None:
    host.answer.stream = [b": keep-alive\n\n", stream_event({"tool": "x"}, "tool_result"), *host.answer.stream]
    assert text_of(RemoteHost(url=host.url)) == "Hello."


def test_text_split_within_a_character_and_within_a_line_is_put_together(host: Any) -> None:
    whole = b"".join(host.answer.stream).replace(b"Hel", "Hé😀l".encode())
    host.answer.stream = [whole[i : i + 1] for i in range(len(whole))]
    assert text_of(RemoteHost(url=host.url)) == "Hé😀llo."


def test_the_key_is_sent_as_a_bearer_token(host: Any) -> None:
    RemoteHost(url=host.url, api_key="sesame").complete(MESSAGES, {"model": "first"})
    assert host.requests[-1][1]["Authorization"] == "Bearer sesame"


def test_models_are_listed(host: Any) -> None:
    assert RemoteHost(url=host.url).models() == ["first", "second"]


@pytest.mark.parametrize(("name", "expected"), [("modelhost", True), ("other", False)])
def test_only_a_modelhost_is_taken_for_one(host: Any, name: str, expected: bool) -> None:
    host.name = name
    assert RemoteHost(url=host.url).is_modelhost() is expected


def test_an_error_object_becomes_the_error_that_the_host_raised(host: Any) -> None:
    host.answer.status = 404
    host.answer.body = {"error": {"message": "there is no model x", "code": "model_not_found"}}
    with pytest.raises(ModelNotFound, match=r"^there is no model x$"):
        text_of(RemoteHost(url=host.url))


def test_an_error_status_without_an_error_object_names_the_status(host: Any) -> None:
    host.answer.status, host.answer.raw_body = 502, b"<html>"
    with pytest.raises(HostUnreachable, match="HTTP status 502"):
        RemoteHost(url=host.url).complete(MESSAGES, {})


def test_an_answer_that_is_not_json_is_an_error(host: Any) -> None:
    host.answer.raw_body = b"<html>"
    with pytest.raises(HostUnreachable, match="is it a modelhost"):
        RemoteHost(url=host.url).complete(MESSAGES, {})


def test_an_error_event_in_mid_stream_is_raised_after_the_text_before_it(
    host: Any, stream_event: Callable[..., bytes]
) -> None:
    source = {"kind": "worker", "model": "nano", "worker": "nano-1"}
    error = {"error": {"message": "the worker ended", "code": "worker_crashed", "source": source}}
    host.answer.stream = [host.answer.stream[0], stream_event(error, "error")]
    chunks = RemoteHost(url=host.url).stream(MESSAGES, {})
    assert next(chunks)["choices"][0]["delta"]["content"] == "Hel"
    with pytest.raises(WorkerCrashed, match="the worker ended") as caught:
        next(chunks)
    assert caught.value.source == source


@pytest.mark.parametrize("breaks_off", [True, False])
def test_a_stream_that_ends_without_done_is_an_error(host: Any, breaks_off: bool) -> None:
    host.answer.stream, host.answer.breaks_off = host.answer.stream[:1], breaks_off
    chunks = RemoteHost(url=host.url).stream(MESSAGES, {})
    next(chunks)
    with pytest.raises(HostUnreachable, match="went away in the middle"):
        next(chunks)


@pytest.mark.parametrize("data", [b"data: <html>\n\n", b"data: [1]\n\n"])
def test_a_stream_of_something_else_is_an_error(host: Any, data: bytes) -> None:
    host.answer.stream = [data]
    with pytest.raises(HostUnreachable, match="something else than an answer"):
        text_of(RemoteHost(url=host.url))


def test_a_server_that_lists_no_models_is_an_error(host: Any) -> None:
    host.models = None
    with pytest.raises(HostUnreachable, match="lists no models"):
        RemoteHost(url=host.url).models()


@pytest.mark.parametrize("key", ["ключ", "a\nb"])
def test_a_key_that_http_cannot_carry_is_a_sentence(host: Any, key: str) -> None:
    with pytest.raises(ConfigError, match="characters that HTTP does not allow"):
        RemoteHost(url=host.url, api_key=key).models()


def test_no_answer_at_the_address_says_how_to_start_a_host() -> None:
    with pytest.raises(HostUnreachable, match="modelhost serve"):
        RemoteHost(url="http://127.0.0.1:9").models()
    assert RemoteHost(url="http://127.0.0.1:9").is_modelhost() is False


@pytest.mark.parametrize("url", ["http://h:80", "http://h:80/", "h:80", "http://h:80/v1", "http://h:80/v1/"])
def test_addresses_are_brought_to_one_form(url: str) -> None:
    assert normal_url(url) == "http://h:80"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://gpu-box", "http://gpu-box"),
        ("localhost", "http://localhost"),
        ("10.0.0.7", "http://10.0.0.7"),
        ("[::1]", "http://[::1]"),
        ("models.example.com/v1", "http://models.example.com"),
        ("https://models.example.com/base/v1", "https://models.example.com/base"),
    ],
)
def test_an_address_may_leave_out_what_is_plain(url: str, address: str) -> None:
    assert normal_url(url) == address


@pytest.mark.parametrize(
    "url", ["ftp://h", "http://", "http://h:port", "http://[", "", "nonsense", "nonsense/v1", "--json", "two words"]
)
def test_what_is_not_an_http_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a host"):
        normal_url(url)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"data: a\n", b"\n"], [Event("", "a")]),
        ([b"data:a\r\n", b"data: b\r\n", b"\r\n"], [Event("", "a\nb")]),
        ([b"event: x\n", b"data: a\n", b"\n", b"data: b\n", b"\n"], [Event("x", "a"), Event("", "b")]),
        ([b": comment\n", b"\n", b"id: 1\n", b"retry: 5\n", b"\n"], []),
        ([b"data: not whole\n"], []),
        ([b"data\n", b"\n"], [Event("", "")]),
    ],
)
def test_events_are_read_as_the_standard_says(lines: list[bytes], expected: list[Event]) -> None:
    assert list(events(lines)) == expected


@pytest.mark.parametrize("answer", [{}, {"error": None}, [], "text", {"choices": []}])
def test_an_answer_without_an_error_holds_none(answer: Any) -> None:
    assert error_in(answer) is None


def test_errors_keep_their_message_whatever_their_code() -> None:
    assert isinstance(error_in({"error": {"message": "full", "code": "queue_full"}}), QueueFull)
    unknown = error_in({"error": {"message": "odd", "code": "from_the_future"}})
    assert (type(unknown), str(unknown)) == (HostUnreachable, "odd")
    assert str(error_in({"error": "plain"})) == "plain"
