"""A stand-in for the model hub: a real HTTP server on loopback that speaks the part of its API that downloads use.

Paths, headers and error codes are the ones that huggingface_hub 2 calls and reads (``hf_api.model_info``,
``file_download.get_hf_file_metadata``, ``utils/_http.hf_raise_for_status``). Large files are answered by a redirect to
``/cdn/SHA256``, as the hub does it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import close_session, constants

_STATUS_OF = {"RepoNotFound": 404, "GatedRepo": 403, "RevisionNotFound": 404, "EntryNotFound": 404}


@dataclass
class Repository:
    """A model repository; tests change it while it is served."""

    files: dict[str, bytes]
    commit: str = "a" * 40
    branches: tuple[str, ...] = ("main",)
    token: str | None = None
    """If set, the files are gated: they need this token (their list does not)."""


@dataclass
class HubServer:
    """The stand-in, its switches and what it counted."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    """Each of the next transfers ends, its connection closed, after so many bytes of content."""
    fail_with: list[int] = field(default_factory=list)
    """Each of the next transfers is answered with such a status."""
    fail_api_with: int | None = None
    damage: bool = False
    """Content is sent with its first byte changed."""
    requests: Counter[str] = field(default_factory=Counter)
    """How often each ``METHOD PATH`` was asked for."""
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of each transfer."""
    tokens: list[str | None] = field(default_factory=list)
    bytes_served: int = 0
    endpoint: str = ""

    @property
    def request_count(self) -> int:
        return self.requests.total()


@contextmanager
def serve_hub(**repositories: Repository) -> Iterator[HubServer]:
    """Serve ``repositories`` (names may be given later, too) until the end of the block."""
    hub = HubServer(repositories=dict(repositories))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def hub_of_this_process(
    monkeypatch: pytest.MonkeyPatch, cache: Path, **repositories: Repository
) -> Iterator[HubServer]:
    """As :func:`serve_hub`, and downloads of this process come from there into ``cache``."""
    with serve_hub(**repositories) as server:
        changed = SimpleNamespace(**{**vars(constants), "ENDPOINT": server.endpoint})
        monkeypatch.setattr("modelhost.models.hub.client.constants", changed)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server
        close_session()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class has that name)
        """Tests read the counters instead."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.requests[f"{self.command} {path}"] += 1
        self.hub.tokens.append(self.headers.get("Authorization"))
        parts = path.strip("/").split("/")
        if path == "/api/models":
            self._search(parse_qs(url.query).get("search", [""])[0])
        elif parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), "/".join(parts[5:]) or "main")
        elif parts[0] == "cdn":
            self._content(parts[1])
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._error("EntryNotFound")

    def _search(self, words: str) -> None:
        found = [name for name in self.hub.repositories if words.lower() in name.lower()]
        self._json([{"id": name, "modelId": name} for name in found])

    def _info(self, name: str, revision: str) -> None:
        if self.hub.fail_api_with is not None:
            self._send(self.hub.fail_api_with)
            return
        repository = self._repository(name, revision)
        if repository is not None:
            siblings = [_sibling(file, content) for file, content in repository.files.items()]
            self._json({"id": name, "sha": repository.commit, "siblings": siblings})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repository = self._repository(name, revision)
        if repository is None:
            return
        if repository.token is not None and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self._error("GatedRepo")
            return
        content = repository.files.get(file)
        if content is None:
            self._error("EntryNotFound")
            return
        digest = hashlib.sha256(content).hexdigest()
        self._send(
            302,
            {
                "Location": f"{self.hub.endpoint}/cdn/{digest}",
                "X-Repo-Commit": repository.commit,
                "X-Linked-Size": str(len(content)),
                "X-Linked-Etag": f'"{digest}"',
            },
        )

    def _repository(self, name: str, revision: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._error("RepoNotFound")
        elif revision not in {*repository.branches, repository.commit}:
            self._error("RevisionNotFound")
        else:
            return repository
        return None

    def _content(self, digest: str) -> None:
        contents = [file for repository in self.hub.repositories.values() for file in repository.files.values()]
        content = next(file for file in contents if hashlib.sha256(file).hexdigest() == digest)
        if self.hub.damage:
            content = bytes([content[0] ^ 1]) + content[1:]
        wanted = self.headers.get("Range")
        self.hub.ranges.append(wanted)
        if self.hub.fail_with:
            self._send(self.hub.fail_with.pop(0))
            return
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if wanted else 200, headers, content[start:])

    def _error(self, code: str) -> None:
        self._send(_STATUS_OF[code], {"X-Error-Code": code, "X-Error-Message": code})

    def _json(self, value: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if status in {200, 206} and self.path.startswith("/cdn/"):
            content = self._cut(content)
            self.hub.bytes_served += len(content)
        self.wfile.write(content)

    def _cut(self, content: bytes) -> bytes:
        if not self.hub.cut_after:
            return content
        self.close_connection = True
        return content[: self.hub.cut_after.pop(0)]


def _sibling(name: str, content: bytes) -> dict[str, object]:
    """One entry of ``siblings`` as ``?blobs=true`` gives it; weights are LFS files, the rest plain git."""
    git_name = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_name}
    if name.endswith((".gguf", ".safetensors")):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 135}
    return entry
