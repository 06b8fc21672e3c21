"""Hosts with a registry: the same model under several names, and what can be asked of such a host besides."""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.engines import CONTEXT, SLOTS, THREADS, bundled
from bench.figures import Call
from bench.sides import Side, StartError, host

NAMES = ("one", "two")
QUEUE = 100  # as many as there are clients wait for one model: none of them is to be refused
SECONDS = 60.0


@contextmanager
def registry_host(model: Path | None, log: Path, *arguments: str) -> Iterator[Side]:
    """Start ``modelhost serve`` with the model under each of :data:`NAMES`, none of them loaded; end it afterwards.

    Raises:
        StartError: there is no model, or the host did not start.
    """
    path = bundled(model)
    params = {"context_length": CONTEXT, "slots": SLOTS, "threads": THREADS}
    entries = [{"name": name, "local_path": str(path), "params": params} for name in NAMES]
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder) / "models.json"
        registry.write_text(json.dumps({"models": entries}))
        options = ["--models-config", str(registry), "--queue-size", str(QUEUE), *arguments]
        with host(options, log) as side:
            yield side


def call_of(side: Side, body: Mapping[str, Any], name: str) -> Call:
    """Return ``body`` as a call to ``side`` for the model called ``name``."""
    return Call(url=side.url, api_key=side.api_key, body={**body, "model": name})


def load(side: Side, names: Sequence[str] = NAMES) -> None:
    """Have the models loaded; return when they are.

    Raises:
        StartError: the host could not.
    """
    for name in names:
        _ask(side, "POST", "/v1/models/load", {"model_id": name, "wait": True})


def unload(side: Side, names: Sequence[str] = NAMES) -> None:
    """Have the models unloaded; return when their memory is back.

    Raises:
        StartError: the host would not.
    """
    for name in names:
        _ask(side, "POST", "/v1/models/unload", {"model_id": name})


def evictions(side: Side) -> int:
    """Return how often a model of ``side`` has made room for another one."""
    status = _ask(side, "GET", "/v1/models/status")
    return sum(model["evictions"] for model in status["models"])


def _ask(side: Side, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    address = urlsplit(side.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=SECONDS)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise StartError(f"{method} {path} answered {answer.status}: {said.decode()}")
        return json.loads(said)
    finally:
        connection.close()
