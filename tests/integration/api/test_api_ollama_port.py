"""The port where clients look for Ollama."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2
import pytest

from tests.support.mcp_peers import free_port
from tests.support.ollama import Start, start
from tests.support.serving import ServedHost, ServeFailed

NOTES = "x-modelhost-notes"


def test_the_port_of_ollama_has_all_paths_and_says_that_ollama_is_running(start_host: Start, tmp_path: Path) -> None:
    port = free_port()
    host = start(start_host, tmp_path, ollama=True, ollama_port=port)
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        root = client.get("/")
        assert (root.status_code, root.text) == (200, "Ollama is running")
        assert root.headers["content-type"].startswith("text/plain")
        assert client.head("/").status_code == 200
        page = client.get("/", headers={"accept": "text/html,*/*"})
        assert (page.status_code, page.headers["location"], page.text) == (307, "/docs", "Ollama is running")
        assert client.get("/api/version").json()["version"]
        assert client.get("/v1/models").json()["data"]
        assert client.post("/", json={"prompt": "Hi"}).json()["response"]
    assert host.http.get("/").status_code == 405
    assert host.http.get("/api/tags").status_code == 200
    assert [event["url"] for event in host.log_events("listening_as_ollama")] == [f"http://127.0.0.1:{port}"]


def test_a_port_that_ollama_has_is_reported_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServeFailed) as failed:
        ServedHost(data_dir=str(tmp_path), model="/missing.gguf", ollama=True, ollama_port=taken.getsockname()[1])
    assert "Ollama itself may be running" in failed.value.stderr
    assert "--ollama-port" in failed.value.stderr


def test_the_port_of_ollama_needs_a_key_too(start_host: Start, tmp_path: Path) -> None:
    port = free_port()
    start(start_host, tmp_path, ollama=True, ollama_port=port, api_keys=["secret"])
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/").text == "Ollama is running"
        assert client.head("/").status_code == 200
        assert client.post("/", json={"prompt": "Hi"}).status_code == 401
        assert client.get("/api/tags").status_code == 401
        assert client.get("/api/tags", headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.get("/api/version").json()["version"]
