"""A host and its models, by Ollama's API."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from tests.support.adapter_files import NANO
from tests.support.serving import ServedHost

Json = dict[str, Any]
Start = Callable[..., ServedHost]

QUESTION = [{"role": "user", "content": "Who are you?"}]


def start(start_host: Start, tmp_path: Path, **settings: Any) -> ServedHost:
    given = {"data_dir": str(tmp_path / "data"), "context_length": 512, "slots": 1, **settings}
    return start_host(**given)


def post(host: ServedHost, path: str, **body: Any) -> httpx2.Response:
    return host.http.post(f"/api/{path}", json=body)


def done(answer: httpx2.Response) -> Json:
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def lines(answer: httpx2.Response) -> list[Json]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def names(host: ServedHost) -> list[str]:
    return [model["name"] for model in host.http.get("/api/tags").json()["models"]]


def show(host: ServedHost, model: str, **fields: Any) -> Json:
    return done(post(host, "show", model=model, **fields))


def chat(host: ServedHost, model: str, messages: Any = QUESTION, **options: Any) -> Json:
    options = {"num_predict": 12, "temperature": 0, **options}
    return done(post(host, "chat", model=model, messages=messages, stream=False, options=options))


def weather(host: ServedHost, model: str) -> str:
    """Return an answer that adapters change."""
    question = [{"role": "user", "content": "Hello! Tell me about the weather in Paris."}]
    text: str = chat(host, model, question, num_predict=40)["message"]["content"]
    return text


def create(host: ServedHost, model: str, **fields: Any) -> Json:
    return done(post(host, "create", model=model, stream=False, **fields))


def delete(host: ServedHost, model: str) -> httpx2.Response:
    return host.http.request("DELETE", "/api/delete", json={"model": model})


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def upload(host: ServedHost, content: bytes, digest: str | None = None) -> httpx2.Response:
    return host.http.post(f"/api/blobs/{digest or digest_of(content)}", content=content)


def uploaded(host: ServedHost, path: Path = NANO) -> str:
    content = path.read_bytes()
    assert upload(host, content).status_code == 201
    return digest_of(content)


def blobs(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "data" / "models" / "blobs").glob("*"))
