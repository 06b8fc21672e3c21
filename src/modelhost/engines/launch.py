"""How a worker process is started, what it is given, and what it answers once it is ready.

The protocol between the host and the worker processes of this package:

* Standard input: one line of JSON, the worker's configuration. It holds the random key, which therefore never appears
  in a process list; ``socket_path``, the Unix socket to listen on (without it: a free port on loopback); and
  ``folder``, a private folder for files that the worker shares with the host (without it: none).
  The pipe then stays open. Its end means that the host is gone: the worker exits at once.
* Standard output: lines of JSON. ``{"event": "progress", "fraction": 0.5}`` any number of times, then one
  ``{"event": "ready", "url": URL, ...}`` (:class:`Ready`; the URL is ``unix:///PATH`` or ``http://127.0.0.1:PORT``), or
  ``{"event": "failed", "code": ..., "message": ...}`` and an exit.
* Standard error: the log, which the host keeps line by line.
* SIGTERM: exit at once with status 0 (the host has drained the requests before).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelhost.engines.adapters import Adapter
from modelhost.exchange.tasks import Task


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
    """On GPUs; ``None`` leaves it to the engine."""
    gpu_split: tuple[int, ...] = ()
    """How many of them each of ``gpus`` gets; empty leaves it to the engine."""
    kv_cache_type: str = "f16"
    lora: tuple[Adapter, ...] = ()
    draft_path: Path | None = None
    mmproj_path: Path | None = None
    """The vision encoder that belongs to it."""
    chat_template: str | None = None
    """To be used instead of the model's own."""
    own_chat_template: str | None = None
    """What the model's files say."""
    has_chat_template: bool = True
    """Whether the model has one of its own."""
    special_tokens: Literal["text", "raw"] = "text"
    """What the names of its special tokens are in the contents of messages, for a worker that can tell those apart."""
    pooling: str | None = None
    embedding_only: bool = False
    vocab_size: int | None = None
    cache_bytes: int | None = None
    """What the keys and values of all slots take together; ``None`` where the engine knows better."""
    gpus: tuple[int, ...] = ()
    """Those that the worker sees and its engine can use."""
    max_in_flight: int = 256
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    """The Python that runs the worker; ``None`` is the host's own."""
    has_fallback: bool = False
    """Whether the host's own Python has the engine too, for when that of ``python`` is broken."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables of the worker beside the host's; they may be secrets."""
    urls: tuple[str, ...] = ()
    """Where servers have it, if it does not run here."""
    url_key: str | None = field(default=None, repr=False)
    """What those servers want to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTarget:
    """A model that servers have, each of which answers for it; ``urls`` are OpenAI's ``base_url``."""

    urls: tuple[str, ...]
    api_key: str | None = field(default=None, repr=False)
    model: str = ""
    """Its name there; empty: the only one that is served, or the first."""
    tasks: frozenset[Task] = frozenset()
    """What servers of their kind can do."""
    context_length: int | None = None
    """Where the servers do not tell."""
    health_seconds: float = 10.0
    """How often they are asked whether they are there."""
    connect_seconds: float = 5.0
    verify: bool = True
    """Whether their certificates have to be valid."""
    ca_file: str = ""
    """Whom to trust, beside those that the system trusts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start one worker process. ``config`` is sent as the first line of its standard input.

    With ``elsewhere`` there is nothing to start: that is where the model is.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    config: Mapping[str, Any]
    elsewhere: RemoteTarget | None = None
    memory_phrases: tuple[str, ...] = ()
    """Lower-case parts of log lines that say that the engine did not get the memory it asked for."""
    gpu_memory_phrases: tuple[str, ...] = ()
    """Those of them that say so of a GPU's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a worker says of itself when it listens."""

    url: str
    context_length: int | None = None
    slots: int | None = None
    tasks: frozenset[Task] = frozenset()
    engine_version: str | None = None
    cache_folder: str | None = None
    """Where it writes and reads prompt caches; ``None`` if it cannot."""
    most_tokens: int | None = None
    """The largest ``max_tokens`` that it takes; the host asks for no more. ``None`` if it cuts larger ones itself."""
    chat_stops: tuple[str, ...] = ()
    """Texts at which the answers of a chat end, beside those of the request."""
    chat_defaults: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a chat that the worker needs where the request is silent."""
    sees_images: bool | None = None
    """Whether the messages of a chat may hold images; ``None`` if it leaves that to be tried."""
    features: tuple[str, ...] = ()
    """What its engine was built to compute with, in the engine's words; empty if it does not say."""
    guided: frozenset[Task] = frozenset()
    """What it takes grammars of llguidance for."""
    lacks: tuple[str, ...] = ()
    """What this version of the engine does not have of that which modelhost gives it; nobody asked for it."""
