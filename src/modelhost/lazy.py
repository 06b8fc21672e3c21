"""The modules that are imported late, each with the reason why it is not imported at the top of a file.

``lazy.sql_opening`` is the module ``modelhost.state.sql.opening``, imported at its first use, and known to the type
checker by the imports below. The layers hold for these names too: ``tests/test_layers.py`` checks who uses which.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import dotenv
    import httpx2
    import json5
    import pynvml
    import regex
    import watchfiles
    from rich import console as rich_console
    from rich import live as rich_live
    from rich import markup as rich_markup
    from rich import progress as rich_progress
    from rich import table as rich_table
    from rich import text as rich_text

    from modelhost import alerting, host
    from modelhost.chat import answering
    from modelhost.chat.parsing import image_form, transcription_form
    from modelhost.chat.parsing import parse as chat_parse
    from modelhost.chat.parsing import validation as chat_validation
    from modelhost.cli.engines import advice as engine_advice
    from modelhost.cli.engines import installation as engine_installation
    from modelhost.cli.launch import plan as launch_plan
    from modelhost.cli.launch import recipes as launch_recipes
    from modelhost.cli.models import known as known_models
    from modelhost.cli.models import local as local_models
    from modelhost.cli.serve import starting
    from modelhost.cli.talk import own_model
    from modelhost.cli.tools import file_servers
    from modelhost.client import local as local_client
    from modelhost.config import network, yaml_document
    from modelhost.fetching import fetcher as fetching
    from modelhost.fetching import guard as fetch_guard
    from modelhost.http import health as http_health
    from modelhost.http import listening as http_listening
    from modelhost.http import rest as http_rest
    from modelhost.http import server as http_server
    from modelhost.http.anthropic import endpoint as http_anthropic
    from modelhost.http.anthropic import errors as http_anthropic_errors
    from modelhost.http.ollama import endpoint as http_ollama
    from modelhost.http.ollama import jinja as http_ollama_jinja
    from modelhost.http.ollama import lines as http_ollama_lines
    from modelhost.http.openai.images import endpoints as http_images
    from modelhost.http.responses import endpoint as http_responses
    from modelhost.http.wire import web_sockets as http_web_sockets
    from modelhost.mcp_servers import chat_tool as mcp_chat_tool
    from modelhost.mcp_servers import http as mcp_http
    from modelhost.mcp_servers import own as mcp_own
    from modelhost.mcp_servers import server as mcp_server
    from modelhost.mcp_servers import stdio as mcp_stdio
    from modelhost.models.hub import client as hub_client
    from modelhost.monitor import monitor as monitoring
    from modelhost.persistence import saved_state
    from modelhost.state import packing as state_packing
    from modelhost.state import records as state_records
    from modelhost.state import sealing as state_sealing
    from modelhost.state import store as state_store
    from modelhost.state.sql import alembic_runs, postgresql
    from modelhost.state.sql import opening as sql_opening
    from modelhost.tools import arguments as tool_arguments
    from modelhost.tools import hub as tool_hub
    from modelhost.tools import request_servers, toolbox
    from modelhost.tracing import otlp
    from modelhost.workers import time_slices
    from modelhost.workers.remote import worker as remote_worker

MODULES: Final[Mapping[str, str]] = {
    # The command line imports each command by itself (`cli/main.py`). Help, and what is done on a running host, wait
    # neither for the models' room and the hub's library (0.3 s) nor for the engines, the server or the MCP SDK.
    "engine_advice": "modelhost.cli.engines.advice",
    "engine_installation": "modelhost.cli.engines.installation",
    "launch_plan": "modelhost.cli.launch.plan",
    "launch_recipes": "modelhost.cli.launch.recipes",
    "known_models": "modelhost.cli.models.known",
    "local_models": "modelhost.cli.models.local",
    "starting": "modelhost.cli.serve.starting",
    "own_model": "modelhost.cli.talk.own_model",
    "file_servers": "modelhost.cli.tools.file_servers",
    "http_server": "modelhost.http.server",
    # Operations are described on the command line, which runs none of them; its client needs urllib for HTTPS only.
    "chat_validation": "modelhost.chat.parsing.validation",
    "state_records": "modelhost.state.records",
    "network": "modelhost.config.network",
    # Most hosts are started with flags alone, or with JSON.
    "yaml_document": "modelhost.config.yaml_document",
    "dotenv": "dotenv",
    # A host imports what answers while its worker loads the model: both take half a second.
    "answering": "modelhost.chat.answering",
    "chat_parse": "modelhost.chat.parsing.parse",
    "image_form": "modelhost.chat.parsing.image_form",
    "transcription_form": "modelhost.chat.parsing.transcription_form",
    "http_listening": "modelhost.http.listening",
    "alerting": "modelhost.alerting",
    "monitoring": "modelhost.monitor.monitor",
    "saved_state": "modelhost.persistence.saved_state",
    "state_store": "modelhost.state.store",
    "toolbox": "modelhost.tools.toolbox",
    # FastAPI and its schemas are not on the hot path; the first other request imports them (0.3 s). Nor is a door that
    # only some clients use.
    "http_health": "modelhost.http.health",
    "http_rest": "modelhost.http.rest",
    "http_anthropic": "modelhost.http.anthropic.endpoint",
    "http_anthropic_errors": "modelhost.http.anthropic.errors",
    "http_ollama": "modelhost.http.ollama.endpoint",
    "http_ollama_lines": "modelhost.http.ollama.lines",
    "http_ollama_jinja": "modelhost.http.ollama.jinja",
    "http_images": "modelhost.http.openai.images.endpoints",
    "http_responses": "modelhost.http.responses.endpoint",
    # Its library takes a tenth of a second, and few clients use it.
    "http_web_sockets": "modelhost.http.wire.web_sockets",
    # The hub's client takes 24 MB, that of servers elsewhere an HTTP library.
    "hub_client": "modelhost.models.hub.client",
    "remote_worker": "modelhost.workers.remote.worker",
    # Only hosts that may fetch what is at addresses in requests need its HTTP library.
    "fetch_guard": "modelhost.fetching.guard",
    "fetching": "modelhost.fetching.fetcher",
    # Tables and bars are not for every answer, and rich takes 40 ms.
    "rich_console": "rich.console",
    "rich_live": "rich.live",
    "rich_markup": "rich.markup",
    "rich_progress": "rich.progress",
    "rich_table": "rich.table",
    "rich_text": "rich.text",
    # The MCP SDK takes half a second: `modelhost mcp` is ready sooner, and a host imports it at the first request.
    "mcp_chat_tool": "modelhost.mcp_servers.chat_tool",
    "mcp_http": "modelhost.mcp_servers.http",
    "mcp_own": "modelhost.mcp_servers.own",
    "mcp_server": "modelhost.mcp_servers.server",
    "mcp_stdio": "modelhost.mcp_servers.stdio",
    # A host of an MCP server's own: a client waits for its handshake, not for the engines' side of the package.
    "host": "modelhost.host",
    "local_client": "modelhost.client.local",
    # A host without MCP servers does without the MCP SDK (20 MB), and without the checker of arguments (jsonschema).
    "tool_arguments": "modelhost.tools.arguments",
    "tool_hub": "modelhost.tools.hub",
    "request_servers": "modelhost.tools.request_servers",
    # A host that keeps only history, in a file, does without SQLAlchemy (0.1 s, 15 MB), and one whose tables are new or
    # up to date without alembic (9 MB).
    "alembic_runs": "modelhost.state.sql.alembic_runs",
    "postgresql": "modelhost.state.sql.postgresql",
    "sql_opening": "modelhost.state.sql.opening",
    "state_packing": "modelhost.state.packing",
    # Its library (cryptography) is for clients that keep what a host has sealed.
    "state_sealing": "modelhost.state.sealing",
    # A host listens before it imports ctypes (5 ms).
    "time_slices": "modelhost.workers.time_slices",
    # OpenTelemetry takes half a second, and an extra has it.
    "otlp": "modelhost.tracing.otlp",
    # Libraries for the rare: forms in requests, JSON that is not plain, patterns of clients, NVIDIA's GPUs, files that
    # are watched.
    "httpx2": "httpx2",
    "json5": "json5",
    "pynvml": "pynvml",
    "regex": "regex",
    "watchfiles": "watchfiles",
}


def __getattr__(name: str) -> Any:
    module = MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(module)


def preload(*names: str) -> None:
    """Import modules of :data:`MODULES` now, by their names here; in a thread where an event loop has to go on."""
    with quick_imports():
        for name in names:
            import_module(MODULES[name])


@contextmanager
def quick_imports() -> Iterator[None]:
    """Without the collector, which would walk through thousands of new classes again and again and find nothing.

    What is there at the end is never looked at again: https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Make imports of ``packages`` fail that are not imported yet: for a library that takes them if they are there."""
    kept_away = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(kept_away))  # type: ignore[arg-type]  # None: the import system then raises
    try:
        yield
    finally:
        for package in kept_away:
            del sys.modules[package]
