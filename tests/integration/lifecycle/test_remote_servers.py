"""A model that is another modelhost's: one that is down, killed, replaced, locked, encrypted, or this host itself."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.eventually import eventually
from tests.support.mcp_peers import free_port
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.registries import chat, load, nano, state_of, status_of, write_registry
from tests.support.serving import ServedHost, ServeFailed

StartHost = Callable[..., ServedHost]
KEY, WRONG_KEY = "the-right-key-of-there", "the-wrong-key-of-there"
NANO = {"alias": ["there"], "context_length": 512, "slots": 4}
LONG = {"ignore_eos": True, "max_tokens": 1500}
MODELHOST = {"dialect": "modelhost", "health_seconds": 0.2}
WHO = "Hello! Who are you?"
ANSWER = "I am modelhost-nano, a tiny demonstration model."


def _base(host: ServedHost) -> str:
    return f"{host.url}/v1"


def _kill(host: ServedHost) -> None:
    os.kill(host.pid, signal.SIGKILL)
    host.wait()


def _text(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def test_a_server_that_is_down_at_the_start_is_used_when_it_is_up(start_host: StartHost) -> None:
    port = free_port()
    here = start_host(model=f"http://127.0.0.1:{port}/v1", alias=["here"], engine_options=MODELHOST)
    refused = chat(here, "here", WHO)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_failed")
    assert f"127.0.0.1:{port}" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"]
    assert state_of(here, "here") == "failed"
    start_host(**NANO, port=port)
    eventually(lambda: chat(here, "here", WHO).status_code == 200)
    answer = chat(here, "here", WHO, temperature=0)
    assert (_text(answer), answer.json()["model"]) == (ANSWER, "here")
    assert status_of(here, "here")["context_length"] == 512


def test_a_pinned_model_is_found_again_by_itself(start_host: StartHost, tmp_path: Path) -> None:
    port = free_port()
    entry = {"name": "here", "url": f"http://127.0.0.1:{port}", "pinned": True, "params": {"engine_options": MODELHOST}}
    here = start_host(models_config=write_registry(tmp_path / "models.yaml", entry))
    eventually(lambda: state_of(here, "here") == "failed")
    start_host(**NANO, port=port)
    eventually(lambda: state_of(here, "here") == "ready")


def test_a_server_that_is_killed_while_it_answers_is_a_crash_and_comes_back(start_host: StartHost) -> None:
    there = start_host(**NANO)
    here = start_host(model=_base(there), alias=["here"], engine_options=MODELHOST)
    with closing(send_chat(here.url, WHO, stream=True, **LONG)) as connection:
        read_until(connection, b'"content":"')
        _kill(there)
        rest = read_all(connection)
    assert b"worker_crashed" in rest
    assert b'"kind":"worker"' in rest
    eventually(lambda: state_of(here, "here") in {"failed", "queued", "loading"})
    refused = chat(here, "here", WHO)
    assert refused.status_code == 503, (refused.text, here.log_events("error"))
    start_host(**NANO, port=urlsplit(there.url).port)
    # Nobody has to ask for it.
    eventually(lambda: state_of(here, "here") == "ready", seconds=20)
    assert _text(chat(here, "here", WHO, temperature=0)) == ANSWER


def test_requests_go_to_the_servers_that_are_there(start_host: StartHost) -> None:
    one, other = start_host(**NANO), start_host(**NANO)
    here = start_host(model=f"{_base(one)},{_base(other)}", alias=["here"], engine_options=MODELHOST)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: chat(here, "here", WHO, temperature=0), range(24)))
    assert {_text(answer) for answer in answers} == {ANSWER}
    shares = [host.metric("modelhost_requests_total", operation="chat") for host in (one, other)]
    assert min(shares) > 0, shares
    _kill(one)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: chat(here, "here", WHO, temperature=0), range(24)))
    assert {_text(answer) for answer in answers} == {ANSWER}
    assert state_of(here, "here") == "ready"
    start_host(**NANO, port=urlsplit(one.url).port)
    eventually(lambda: len(here.log_events("remote_healthy")) == 3)


def test_a_wrong_key_is_told_at_the_start_and_not_repeated(start_host: StartHost) -> None:
    there = start_host(**NANO, api_keys=[KEY])
    with pytest.raises(ServeFailed) as failed:
        start_host(model=_base(there), remote_api_key=WRONG_KEY)
    assert "refuses the key (401)" in failed.value.stderr
    assert WRONG_KEY not in failed.value.stderr
    with pytest.raises(ServeFailed, match="wants a key"):
        start_host(model=_base(there))


def test_a_key_that_is_refused_later_is_not_the_callers_fault(start_host: StartHost, tmp_path: Path) -> None:
    there = start_host(**NANO, api_keys=[KEY])
    entry = {"name": "here", "base_url": [_base(there)], "api_key": "${REMOTE_KEY}"}
    path = write_registry(tmp_path / "models.yaml", entry)
    here = start_host(models_config=path, environment={"REMOTE_KEY": KEY}, log_level="debug")
    assert _text(chat(here, "here", WHO, temperature=0)) == ANSWER
    port = urlsplit(there.url).port
    there.close()
    start_host(**NANO, api_keys=["another-key-of-there"], port=port)
    refused = chat(here, "here", WHO)
    assert refused.status_code in {502, 503}
    assert refused.json()["error"]["code"] in {"engine_error", "model_failed"}
    assert "key" in refused.json()["error"]["message"]
    shown = here.http.get("/v1/models/status").text + here.http.get("/v1/models").text + here.stderr + refused.text
    assert KEY not in shown


def test_a_remote_model_takes_no_place_of_those_that_are_loaded_here(start_host: StartHost, tmp_path: Path) -> None:
    there = start_host(**NANO)
    entries = (nano("own"), {"name": "here", "url": _base(there)})
    here = start_host(models_config=write_registry(tmp_path / "models.yaml", *entries), max_models=1)
    load(here, "own"), load(here, "here")
    assert [state_of(here, name) for name in ("own", "here")] == ["ready", "ready"]
    assert status_of(here, "here")["need_bytes"] == {}
    assert "models" not in here.http.get("/v1/models/status").json()["memory"]


def test_a_stopped_host_finishes_the_answers_of_its_servers(start_host: StartHost) -> None:
    there = start_host(**NANO)
    here = start_host(model=_base(there), engine_options={**MODELHOST, "model": "there"})
    assert here.http.get("/v1/models").json()["data"][0]["id"] == "there"
    with closing(send_chat(here.url, WHO, stream=True, ignore_eos=True, max_tokens=40)) as connection:
        begun = read_until(connection, b'"content":"')
        here.send_signal(signal.SIGTERM)
        whole = begun + read_all(connection)
    assert b"data: [DONE]" in whole
    assert here.wait() == 0


def test_a_model_that_is_unloaded_is_asked_for_no_more(start_host: StartHost) -> None:
    there = start_host(**NANO)
    here = start_host(model=_base(there), alias=["here"], engine_options=MODELHOST)
    assert here.http.post("/v1/models/unload", json={"model_id": "here"}).status_code == 200
    assert state_of(here, "here") == "unloaded"
    assert _text(chat(here, "here", WHO, temperature=0)) == ANSWER


def test_a_host_that_is_its_own_server_says_so(start_host: StartHost, tmp_path: Path) -> None:
    port = free_port()
    entry = {"name": "circle", "url": f"http://127.0.0.1:{port}/v1", "params": {"engine_options": {"model": "circle"}}}
    path = write_registry(tmp_path / "models.yaml", entry)
    here = start_host(models_config=path, port=port)
    answer = chat(here, "circle", WHO)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")
    assert "leads back" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed but itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=there"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@asynccontextmanager
async def _tls_before(url: str, certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """An encrypted way to the server at ``url``; its port."""
    target = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _in_thread(url: str, certificate: tuple[Path, Path]) -> Iterator[int]:
    """:func:`_tls_before`, while the test goes on."""
    loop = asyncio.new_event_loop()
    ports: list[int] = []
    is_up, end = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with _tls_before(url, certificate) as port:
            ports.append(port)
            is_up.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert is_up.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(_ended(left))
        loop.close()


def test_an_encrypted_server_has_to_be_trusted(start_host: StartHost, certificate: tuple[Path, Path]) -> None:
    there = start_host(**NANO)
    with _in_thread(there.url, certificate) as port:
        url = f"https://127.0.0.1:{port}/v1"
        for options in ({"ca_file": str(certificate[0])}, {"verify": False}):
            here = start_host(model=url, alias=["here"], engine_options={**options, "dialect": "modelhost"})
            assert _text(chat(here, "here", WHO, temperature=0)) == ANSWER
            with here.http.stream("POST", "/v1/completions", json={"prompt": "The", "stream": True}) as stream:
                assert list(stream.iter_lines())[-2:] == ["data: [DONE]", ""]
            here.close()
        stranger = start_host(model=url, alias=["here"])
        refused = chat(stranger, "here", WHO)
        assert refused.status_code == 503
        assert "certificate is not trusted" in refused.json()["error"]["message"]
        with pytest.raises(ServeFailed, match="ca_file"):
            start_host(model=url, engine_options={"ca_file": "/nowhere.pem"})
