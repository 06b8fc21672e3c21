"""The Responses API over a WebSocket, with the `websockets` package as its client."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.eventually import eventually
from tests.support.mcp_peers import free_port
from tests.support.serving import ServedHost

Event = dict[str, Any]
StartHost = Callable[..., ServedHost]
SECONDS = 60.0
TERMINAL = ("response.completed", "response.incomplete", "response.failed", "error")


@asynccontextmanager
async def socket_of(host: ServedHost, **headers: str) -> AsyncIterator[ClientConnection]:
    url = f"{host.url.replace('http', 'ws', 1)}/v1/responses"
    async with asyncio.timeout(SECONDS), connect(url, additional_headers=headers) as client:
        yield client


async def events_of(client: ClientConnection) -> list[Event]:
    """The events of one response."""
    found: list[Event] = []
    while not found or found[-1]["type"] not in TERMINAL:
        found.append(json.loads(await client.recv()))
    return found


async def asked(client: ClientConnection, given: Any = "Hello", **fields: Any) -> list[Event]:
    await client.send(json.dumps({"type": "response.create", "input": given, **fields}))
    return await events_of(client)


def text_of(event: Event) -> str:
    response = event["response"]
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


def error_of(events: list[Event]) -> Event:
    (event,) = events
    assert event["type"] == "error"
    return {"status": event["status"], **event["error"]}


# Responses.


async def test_a_response_comes_as_the_events_of_a_stream(any_host: ServedHost) -> None:
    async with socket_of(any_host) as client:
        events = await asked(client, max_output_tokens=8, store=False)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    assert "response.output_text.delta" in {event["type"] for event in events}


async def test_messages_sent_ahead_are_answered_one_after_the_other(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        for text in ("/tokens 1", "/tokens 2"):
            await client.send(json.dumps({"type": "response.create", "input": text, "store": False}))
        first, second = await events_of(client), await events_of(client)
    assert [len(text_of(events[-1]).split()) for events in (first, second)] == [1, 2]
    assert first[-1]["response"]["id"] != second[-1]["response"]["id"]


async def test_fields_of_streams_have_no_effect(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        events = await asked(client, stream=False, stream_options={"include_obfuscation": False}, store=False)
    assert events[-1]["type"] == "response.completed"


async def test_ignored_fields_are_noted_in_the_first_event(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        events = await asked(client, no_such_field=1, store=False)
    assert any("no_such_field" in note for note in events[0]["modelhost.notes"])
    assert not any("modelhost.notes" in event for event in events[1:])


async def test_a_request_without_output_prepares_the_next(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        first = await asked(client, "Hello there", store=False, generate=False)
        assert [event["type"] for event in first] == ["response.created", "response.completed"]
        prepared = first[-1]["response"]
        assert (prepared["output"], prepared["usage"]["total_tokens"]) == ([], 0)
        second = await asked(client, "Bye", store=False, previous_response_id=prepared["id"])
        alone = await asked(client, "Bye", store=False)
    assert second[-1]["response"]["usage"]["input_tokens"] > alone[-1]["response"]["usage"]["input_tokens"]


# A response that is not stored, continued on its socket.


async def test_a_response_that_is_not_stored_is_continued_on_its_socket(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        first = (await asked(client, "/tokens 5", store=False))[-1]["response"]
        second = (await asked(client, "/tokens 5", store=False, previous_response_id=first["id"]))[-1]["response"]
        third = (await asked(client, "/tokens 5", store=False, previous_response_id=second["id"]))[-1]["response"]
    assert second["previous_response_id"] == first["id"]
    used = [response["usage"]["input_tokens"] for response in (first, second, third)]
    assert used[1] - used[0] == used[2] - used[1] > 5


async def test_it_is_unknown_on_another_socket(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        first = await asked(client, store=False)
    async with socket_of(scripted_host) as client:
        error = error_of(await asked(client, store=False, previous_response_id=first[-1]["response"]["id"]))
        assert (error["status"], error["code"]) == (404, "previous_response_not_found")
        assert error["param"] == "previous_response_id"
        assert (await asked(client, store=False))[-1]["type"] == "response.completed"


async def test_a_continuation_that_fails_ends_the_chain(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        first = await asked(client, store=False)
        previous = first[-1]["response"]["id"]
        assert error_of(await asked(client, 7, store=False, previous_response_id=previous))["status"] == 400
        error = error_of(await asked(client, store=False, previous_response_id=previous))
        assert error["code"] == "previous_response_not_found"


async def test_an_error_elsewhere_keeps_the_chain(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        first = await asked(client, store=False)
        assert error_of(await asked(client, 7, store=False))["status"] == 400
        second = await asked(client, store=False, previous_response_id=first[-1]["response"]["id"])
    assert second[-1]["type"] == "response.completed"


async def test_stored_responses_and_others_continue_each_other(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        stored = (await asked(client, "One"))[-1]["response"]
        not_stored = (await asked(client, "Two", store=False, previous_response_id=stored["id"]))[-1]["response"]
        last = (await asked(client, "Three", previous_response_id=not_stored["id"]))[-1]["response"]
    async with socket_of(scripted_host) as client:
        again = (await asked(client, "Three", previous_response_id=not_stored["id"]))[-1]
        assert again["error"]["code"] == "previous_response_not_found"
        after = (await asked(client, "Four", previous_response_id=last["id"]))[-1]["response"]
    api = scripted_host.client()
    texts = [item.content[0].text for item in api.responses.input_items.list(after["id"], order="asc")]
    assert [text for text in texts if text in {"One", "Two", "Three", "Four"}] == ["One", "Two", "Three", "Four"]


# Errors.


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_request", "type"),
        ('{"input": "Hello"}', "invalid_request", "type"),
        ('{"type": "response.create", "input": "Hello", "background": true}', "invalid_request", "background"),
        ('{"type": "response.create", "input": "Hello", "temperature": "hot"}', "invalid_request", "temperature"),
        ('{"type": "response.create", "input": "Hello", "generate": "no"}', "invalid_request", "generate"),
        ('{"type": "response.create", "input": "Hello", "model": "none"}', "model_not_found", "model"),
    ],
)
async def test_a_message_that_cannot_be_used_is_an_error_and_the_socket_stays(
    scripted_host: ServedHost, message: str, code: str, param: str | None
) -> None:
    async with socket_of(scripted_host) as client:
        await client.send(message)
        error = error_of(await events_of(client))
        assert (error["code"], error["param"]) == (code, param)
        assert (await asked(client, store=False))[-1]["type"] == "response.completed"


async def test_a_model_that_crashes_ends_the_response_and_not_the_socket(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        events = await asked(client, "/crash 2", store=False)
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["code"] == "worker_crashed"
        assert (await asked(client, store=False))[-1]["type"] == "response.completed"


async def test_a_message_over_the_limit_of_bodies_closes_the_socket(start_host: StartHost) -> None:
    host = start_host(engine="scripted", max_body_mb=0.01)
    async with socket_of(host) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await asked(client, "word " * 4000)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_too_many_messages_ahead_close_the_socket(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host) as client:
        for _ in range(8):
            await client.send(json.dumps({"type": "response.create", "input": "/hang 0", "store": False}))
        await client.wait_closed()
        with pytest.raises(ConnectionClosed) as closed:
            await client.send("{}")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


# Who may.


async def status_without_a_socket(host: ServedHost, *, named: str | None = None, **headers: str) -> int:
    """The status of a refused handshake; ``named`` is what the client calls the host."""
    address = urlsplit(host.url)
    url = f"ws://{named or address.netloc}/v1/responses"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, host=address.hostname, port=address.port, additional_headers=headers):
            pytest.fail("it is not to be accepted")
    assert json.loads(refused.value.response.body or b"{}")["error"]["message"]
    return refused.value.response.status_code


async def test_a_host_with_keys_needs_one(start_host: StartHost) -> None:
    host = start_host(engine="scripted", api_keys=["secret"])
    assert await status_without_a_socket(host) == 401
    assert await status_without_a_socket(host, Authorization="Bearer wrong") == 401
    async with socket_of(host, Authorization="Bearer secret") as client:
        assert (await asked(client, store=False))[-1]["type"] == "response.completed"


async def test_a_foreign_page_is_refused_and_one_of_the_host_is_not(scripted_host: ServedHost) -> None:
    assert await status_without_a_socket(scripted_host, Origin="https://example.com") == 403
    assert await status_without_a_socket(scripted_host, named="example.com") == 403
    assert "uvicorn" not in scripted_host.stderr
    async with socket_of(scripted_host, Origin=scripted_host.url.removesuffix("/")) as client:
        assert (await asked(client, store=False))[-1]["type"] == "response.completed"


async def test_other_paths_answer_as_if_they_were_not_asked_for_a_socket(scripted_host: ServedHost) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{scripted_host.url.replace('http', 'ws', 1)}/health"):
            pytest.fail("it is not to be accepted")
    assert refused.value.response.status_code == 200


async def test_the_port_of_the_mcp_servers_has_no_socket(start_host: StartHost) -> None:
    port = free_port()
    start_host(engine="scripted", mcp_port=port)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{port}/v1/responses"):
            pytest.fail("it is not to be accepted")
    assert refused.value.response.status_code == 404


async def test_the_handshake_names_the_request(scripted_host: ServedHost) -> None:
    async with socket_of(scripted_host, **{"X-Request-Id": "mine"}) as client:
        assert client.response is not None
        assert client.response.headers["x-request-id"] == "mine"


# Ends.


async def test_a_client_that_leaves_cancels_its_response(scripted_host: ServedHost) -> None:
    cancelled = scripted_host.metric("modelhost_cancelled_total")
    async with socket_of(scripted_host) as client:
        await client.send(json.dumps({"type": "response.create", "input": "/hang 3", "store": False}))
        while json.loads(await client.recv())["type"] != "response.output_text.delta":
            pass
    await asyncio.to_thread(eventually, lambda: scripted_host.metric("modelhost_requests_in_flight") == 0)
    await asyncio.to_thread(eventually, lambda: scripted_host.metric("modelhost_cancelled_total") == cancelled + 1)


async def test_a_client_that_does_not_read_is_cut_off(start_host: StartHost) -> None:
    host = start_host(
        engine="scripted", slow_reader_timeout=1, engine_options={"tokens": 200_000, "context_length": 1_000_000}
    )
    address = urlsplit(host.url)
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect((address.hostname, address.port))
        async with connect(f"ws://{address.netloc}/v1/responses", sock=narrow, max_queue=1) as client:
            await client.send(json.dumps({"type": "response.create", "input": "Hello", "store": False}))
            await asyncio.to_thread(eventually, lambda: host.log_events("slow_reader_cut"))
            await asyncio.to_thread(eventually, lambda: host.metric("modelhost_requests_in_flight") == 0)
            client.transport.abort()


async def test_a_host_that_stops_ends_what_it_answers_and_closes(start_host: StartHost) -> None:
    host = start_host(engine="scripted", engine_options={"tokens": 40, "tokens_per_second": 40})
    async with socket_of(host) as idle, socket_of(host) as client:
        await client.send(json.dumps({"type": "response.create", "input": "Hello", "store": False}))
        while json.loads(await client.recv())["type"] != "response.output_text.delta":
            pass
        host.send_signal(signal.SIGTERM)
        events = await events_of(client)
        assert events[-1]["type"] == "response.completed"
        for each in (idle, client):
            with pytest.raises(ConnectionClosed) as closed:
                await each.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
    assert await asyncio.to_thread(host.wait) == 0


async def test_what_is_left_after_the_shutdown_timeout_fails(start_host: StartHost) -> None:
    host = start_host(engine="scripted", shutdown_timeout=1)
    async with socket_of(host) as client:
        await client.send(json.dumps({"type": "response.create", "input": "/hang 3", "store": False}))
        while json.loads(await client.recv())["type"] != "response.output_text.delta":
            pass
        host.send_signal(signal.SIGTERM)
        events = await events_of(client)
        assert error_of(events[-1:])["code"] == "shutting_down"
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert await asyncio.to_thread(host.wait) == 0
    assert "Traceback" not in host.stderr
