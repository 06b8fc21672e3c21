"""What an engine is to the host: a launch recipe and the differences of its dialect.

The protocol between the host and a worker process of ours:

* standard input: one line of JSON, the worker's configuration. It holds the random key, which therefore never stands
  in a process list, and ``socket_path``, the Unix socket to listen on (without it: a free port on loopback).
  Afterwards the pipe stays open, and its end means that the host is gone: the worker exits at once.
* standard output: lines of JSON. ``{"event": "progress", "fraction": 0.5}`` any number of times, then one
  ``{"event": "ready", "url": URL, ...}`` (:class:`Ready`; the URL is ``unix:///PATH`` or ``http://127.0.0.1:PORT``), or
  ``{"event": "failed", "code": ..., "message": ...}`` and an exit.
* standard error: the log, kept by the host line by line.
* SIGTERM: exit at once with 0 (the host has drained the requests before).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from modelhost.errors import ModelhostError

Operation = Literal["chat", "completions", "embeddings", "rerank", "tokenize", "detokenize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model as an engine gets it: resolved to files on this machine, every default decided by the engine itself."""

    name: str
    aliases: tuple[str, ...] = ()
    path: Path | None = None
    context_length: int | None = None
    slots: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    kv_cache_type: str = "f16"
    lora: tuple[tuple[Path, float], ...] = ()
    draft_path: Path | None = None
    chat_template: str | None = None
    pooling: str | None = None
    embedding_only: bool = False
    vocab_size: int | None = None
    max_in_flight: int = 256
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    """The Python that runs the worker; ``None`` is the host's own."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables of the worker beside the host's; they may be secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start one worker process. ``config`` is sent as the first line of its standard input."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    config: Mapping[str, Any]
    memory_phrases: tuple[str, ...] = ()
    """Lower-case parts of log lines that say that the engine did not get the memory it asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a worker says of itself when it listens."""

    url: str
    context_length: int | None = None
    slots: int | None = None
    operations: frozenset[Operation] = frozenset()
    engine_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What an engine makes of the launch parameters of a registry entry.

    ``settings`` are values of :class:`~modelhost.config.settings.Settings`. ``problems`` make the entry invalid;
    ``warnings`` name what has no effect with this engine, and what does its job instead.
    """

    settings: Mapping[str, Any]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Engine(Protocol):
    """One engine. Everything here is pure: processes are the business of ``workers/``."""

    name: str

    def accept(self, params: Mapping[str, Any]) -> Accepted:
        """Return what this engine makes of ``params``: those of the registry that are given, checked for type.

        Nothing is ignored in silence: what the engine cannot honour is a problem, or a warning where the answers are
        the same without it.
        """
        ...

    def launch(self, spec: ModelSpec, api_key: str) -> Launch:
        """Return how to start a worker for ``spec``.

        Raises:
            ConfigError: a setting or an engine option that this engine cannot honour.
        """
        ...

    def advice(self, operation: Operation) -> str:
        """Return what helps where a model of this engine cannot do ``operation``; empty if nothing does."""
        ...

    def fields(self, operation: Operation) -> frozenset[str]:
        """Return the request fields that this engine honours beyond those that every engine must."""
        ...

    def adapt(self, operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``body`` in this engine's dialect; it may be changed in place."""
        ...

    def path(self, operation: Operation) -> str:
        """Return the path of ``operation`` at the worker."""
        ...

    def translate_error(self, status: int, payload: Any, *, model: str, worker: str) -> ModelhostError:
        """Return the engine's own error answer as one of ours."""
        ...
