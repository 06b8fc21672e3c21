"""How a worker process is started, what it is given, and what it answers once it is ready.

The protocol between the host and the worker processes of this package:

* Standard input: one line of JSON, the worker's configuration. It holds the random key, which therefore never appears
  in a process list; ``socket_path``, the Unix socket to listen on (without it: a free port on loopback); and
  ``folder``, a private folder for files that the worker shares with the host (without it: none).
  The pipe then stays open. Its end means that the host is gone: the worker exits at once.
* Standard output: lines of JSON. ``{"event": "progress", "fraction": 0.5}`` any number of times, then one
  ``{"event": "ready", "url": URL, ...}`` (:class:`Ready`; the URL is ``unix:///PATH`` or ``http://127.0.0.1:PORT``), or
  ``{"event": "failed", "code": ..., "message": ...}`` and an exit; with ``"has_way_out": true`` if the message of files
  that cannot be used says what to do about them.
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
    """A model as an engine gets it: resolved to files on this machine. The engine chooses what is left open."""

    name: str
    aliases: tuple[str, ...] = ()
    path: Path | None = None
    context_length: int | None = None
    slots: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    """Layers on GPUs; ``None`` leaves that to the engine."""
    gpu_split: tuple[int, ...] = ()
    """The number of layers on each of ``gpus``; empty leaves that to the engine."""
    kv_cache_type: str = "f16"
    lora: tuple[Adapter, ...] = ()
    draft_path: Path | None = None
    mmproj_path: Path | None = None
    """Its encoder of images, sound or both."""
    chat_template: str | None = None
    """Replaces the model's own template."""
    own_chat_template: str | None = None
    """The template in the model's files."""
    has_chat_template: bool = True
    """Whether the model has a template of its own."""
    special_tokens: Literal["text", "raw"] = "text"
    """How a worker that can distinguish them treats the names of special tokens in the contents of messages."""
    pooling: str | None = None
    embedding_only: bool = False
    task: Task | None = None
    """What it does, where its files say that this is not writing text (``EngineTraits.kinds``)."""
    vocab_size: int | None = None
    cache_bytes: int | None = None
    """The size of the key-value caches of all slots together; ``None`` leaves that to the engine."""
    gpus: tuple[int, ...] = ()
    """The GPUs that are visible to the worker and usable by its engine."""
    max_in_flight: int = 256
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    """The Python that runs the worker; ``None``: the host's own."""
    has_fallback: bool = False
    """Whether the host's own Python also has the engine, in case that of ``python`` is broken."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables of the worker, in addition to the host's; they may be secrets."""
    urls: tuple[str, ...] = ()
    """The base URLs of the servers of a remote model."""
    url_key: str | None = field(default=None, repr=False)
    """The API key of those servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTarget:
    """A model on remote servers, all of which serve it; ``urls`` are values of OpenAI's ``base_url``."""

    urls: tuple[str, ...]
    api_key: str | None = field(default=None, repr=False)
    model: str = ""
    """Its name on the servers; empty: the first model that they list."""
    tasks: frozenset[Task] = frozenset()
    """The tasks that such servers can do."""
    context_length: int | None = None
    """Used where the servers do not report it."""
    health_seconds: float = 10.0
    """The interval between health checks."""
    connect_seconds: float = 5.0
    verify: bool = True
    """Whether their certificates must be valid."""
    ca_file: str = ""
    """A file with certificates to trust, in addition to the system's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start one worker process. ``config`` is sent as the first line of its standard input.

    With ``remote`` there is nothing to start: the model is on those servers.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    config: Mapping[str, Any]
    remote: RemoteTarget | None = None
    memory_phrases: tuple[str, ...] = ()
    """Lower-case parts of log lines that report a failed allocation of memory."""
    gpu_memory_phrases: tuple[str, ...] = ()
    """Those of them that are about a GPU's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a worker announces once it listens."""

    url: str
    context_length: int | None = None
    slots: int | None = None
    tasks: frozenset[Task] = frozenset()
    engine_version: str | None = None
    cache_folder: str | None = None
    """The folder of its prompt caches; ``None`` if it cannot save any."""
    most_tokens: int | None = None
    """The largest ``max_tokens`` that it accepts; the host sends no larger one. ``None`` if it limits them itself."""
    chat_stops: tuple[str, ...] = ()
    """Stop strings of every chat, in addition to those of the request."""
    chat_defaults: Mapping[str, Any] = field(default_factory=dict)
    """Default values for fields of a chat that the worker needs."""
    sees_images: bool | None = None
    """Whether the messages of a chat may contain images; ``None`` if that is unknown."""
    why_blind: str | None = None
    """Why they may not, and what would help, in sentences for clients; ``None`` if the engine does not say."""
    hears_audio: bool | None = None
    """Whether they may contain sound; as above."""
    calls_tools: bool | None = None
    """Whether a chat may have tools: the model can be shown them, and its calls can be read; as above."""
    voices: tuple[str, ...] = ()
    """The voices that it speaks with, by the names that requests use."""
    reports_begin: bool = False
    """Whether it sends 102 (Processing) when it begins a request, which may wait for others before."""
    features: tuple[str, ...] = ()
    """The features that its engine was built with, by the engine's names; empty if it does not report them."""
    guided: frozenset[Task] = frozenset()
    """The tasks for which it accepts grammars of llguidance."""
    lacks: tuple[str, ...] = ()
    """Flags that modelhost sets by default and that this version of the engine does not have."""
