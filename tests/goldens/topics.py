"""The topics: each starts what it needs, plays its scenarios and gives the texts of its files."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.goldens import documents
from tests.goldens.command_recording import record_commands
from tests.goldens.command_tree import command_tree
from tests.goldens.files import Recorded
from tests.goldens.http_recording import record_http
from tests.goldens.json_text import json_text
from tests.goldens.mcp_messages import ERAS
from tests.goldens.mcp_recording import Definitions, record_over_http, record_over_stdio, stdio_names
from tests.goldens.normalising import Normaliser
from tests.goldens.scenarios import (
    anthropic,
    commands,
    generation,
    models,
    ollama,
    ollama_models,
    plain_mcp,
    prompts,
    refusals,
    responses,
    state,
    system,
    tools,
)
from tests.goldens.stdio_servers import StdioServers
from tests.goldens.surroundings import NOWHERE, Surroundings, surroundings
from tests.support.hub import Repository, serve_hub
from tests.support.other_stores import write_lm_studio, write_ollama
from tests.support.registries import NANO, nano, scripted, write_registry
from tests.support.serving import ServedHost
from tests.support.tool_hosts import sdk_server, stub_server

SCRIPTED: Final[Mapping[str, Any]] = {"engine": "scripted", "alias": ["scripted"], "slots": 4}
SHORT: Final = {"text": "Done."}
THOUGHTS: Final = '- {match: "think first", reply: "Yes.", reasoning: "Let me think."}\n'
STUB_TOOLS: Final = ["echo", "fail"]
SDK_TOOLS: Final = ["add", "picture", "hello"]


def _generation() -> Recorded:
    with surroundings() as place:
        script = place.file("script.yaml", THOUGHTS)
        options = {**SHORT, "script": script}
        host = place.host(
            **{**SCRIPTED, "alias": ["scripted", "other"]},
            context_length=512,
            engine_options=options,
            chat_speech_model="scripted",
        )
        hosts = {"main": host}
        found = {
            "http/system.txt": record_http(system.SYSTEM, hosts, Normaliser(place.places)),
            "http/chats.txt": record_http(generation.CHATS, hosts, Normaliser(place.places)),
            "http/generation.txt": record_http(generation.OTHERS, hosts, Normaliser(place.places)),
            "http/responses.txt": record_http(responses.ANSWERS, hosts, Normaliser(place.places)),
            "http/responses_refusals.txt": record_http(responses.REFUSALS, hosts, Normaliser(place.places)),
            "http/anthropic.txt": record_http(anthropic.ANSWERS, hosts, Normaliser(place.places)),
            "http/anthropic_refusals.txt": record_http(anthropic.REFUSALS, hosts, Normaliser(place.places)),
            "http/ollama.txt": record_http(ollama.ANSWERS, hosts, Normaliser(place.places)),
            "http/ollama_models.txt": record_http(ollama_models.MODELS, hosts, Normaliser(place.places)),
            "http/ollama_refusals.txt": record_http(ollama.REFUSALS, hosts, Normaliser(place.places)),
            "http/refusals.txt": record_http(refusals.REFUSALS, hosts, Normaliser(place.places)),
            "openapi.json": _openapi(host, place),
            "metrics.txt": documents.metrics(host.http.get("/metrics").text),
        }
        small_nano = place.host(context_length=512, slots=2)
        normaliser = Normaliser(place.places, hides_generated=True)
        return {**found, "http/nano.txt": record_http(generation.NANO, {"main": small_nano}, normaliser)}


def _openapi(host: ServedHost, place: Surroundings) -> str:
    document = Normaliser(place.places).value(host.http.get("/openapi.json").json())
    return f"{json_text(document, sort_keys=True)}\n"


def _limits() -> Recorded:
    with surroundings() as place:
        small = {
            "max_body_mb": 0.01,
            "max_in_flight": 2,
            "queue_size": 1,
            "request_timeout": 2.0,
            "header_timeout": 0.5,
            "fetch_urls": True,
            "fetch_hosts": [urlsplit(NOWHERE).netloc],
        }
        registry = write_registry(place.work / "models.yaml", nano("nano"))
        place.file("broken/modelhost.db", b"this is no database" * 1000)
        hosts = {
            "main": place.host(**SCRIPTED, **small, prompt_path=["/ask"], shutdown_timeout=0.2),
            "locked": place.host(**SCRIPTED, api_keys=["anna=first-key"], require_model=True),
            "full": place.host(models_config=registry, memory_budget="1MB", data_dir=str(place.work / "broken")),
            "alone": place.host(**SCRIPTED, only_prompt=True),
            "narrow": place.host(**SCRIPTED, max_connections=1),
        }
        hosts["small"] = hosts["main"]
        found = {
            "http/keys.txt": record_http(refusals.KEYS, hosts, Normaliser(place.places)),
            "http/prompts.txt": record_http(prompts.PROMPTS, hosts, Normaliser(place.places)),
            "http/responses_limits.txt": record_http(responses.LIMITS, hosts, Normaliser(place.places)),
            "http/anthropic_limits.txt": record_http(anthropic.LIMITS, hosts, Normaliser(place.places)),
            "http/ollama_limits.txt": record_http(ollama.LIMITS, hosts, Normaliser(place.places)),
            "http/limits.txt": record_http(refusals.LIMITS, hosts, Normaliser(place.places)),
        }
        hosts["locked"].process.terminate()
        hosts["locked"].wait()
        return {**found, "log.txt": documents.log_of(hosts["locked"].stderr, Normaliser(place.places))}


def _state() -> Recorded:
    with surroundings() as place:
        main = place.host(**SCRIPTED)
        hosts = {
            "main": main,
            "other": place.host(**SCRIPTED, session_timeout=0.3, data_dir=main.settings["data_dir"]),
        }
        found = {
            "http/sessions.txt": record_http(state.SESSIONS, hosts, Normaliser(place.places)),
            "http/states.txt": record_http(state.STATES, hosts, Normaliser(place.places)),
            "http/audit.txt": record_http(state.AUDIT, hosts, Normaliser(place.places)),
            "http/alerts.txt": record_http(state.ALERTS, hosts, Normaliser(place.places)),
            "http/monitor.txt": record_http(state.MONITOR, hosts, Normaliser(place.places)),
            "http/session_busy.txt": record_http(state.BUSY, hosts, Normaliser(place.places)),
        }
        file = Path(str(main.settings["data_dir"])) / "modelhost.db"
        return {**found, "database.txt": documents.database_columns(file)}


def _administration() -> Recorded:
    with surroundings() as place:
        place.variables["HF_ENDPOINT"] = _hub(place)
        host = place.host(models_config=_registry(place), mcp_config=_mcp_servers(place), wait_for_tools=True)
        hosts = {"main": host}
        return {
            "http/models.txt": record_http(models.MODELS, hosts, Normaliser(place.places)),
            "http/tools.txt": record_http(tools.TOOLS, hosts, Normaliser(place.places)),
            "http/responses_tools.txt": record_http(responses.TOOLS, hosts, Normaliser(place.places)),
            "http/anthropic_tools.txt": record_http(anthropic.TOOLS, hosts, Normaliser(place.places)),
            "http/ollama_tools.txt": record_http(ollama.TOOLS, hosts, Normaliser(place.places)),
        }


def _mcp() -> Recorded:
    with surroundings() as place:
        place.variables["HF_ENDPOINT"] = _hub(place)
        # Rules of alerts are evaluated later than all is over: at which message one fires would be a matter of time.
        host = place.host(models_config=_registry(place), memory_budget="30MB", alert_interval=300.0)
        faces = {name: face for era in ERAS for name, face in stdio_names(era).items()}
        definitions = Definitions()
        found = {"mcp/http_plain.txt": record_http(plain_mcp.PLAIN, {"main": host}, Normaliser(place.places))}
        with StdioServers(faces, host.url, folder=place.work, variables=place.variables) as servers:
            for era in ERAS:
                found[f"mcp/http_{era}.txt"] = record_over_http(host, era, Normaliser(place.places), definitions)
                found[f"mcp/stdio_{era}.txt"] = record_over_stdio(servers, era, Normaliser(place.places), definitions)
            statuses = "".join(f"{name}: {status}\n" for name, status in sorted(servers.end().items()))
        return {**found, "mcp/stdio_exit_statuses.txt": statuses}


def _commands() -> Recorded:
    with surroundings() as place:
        _models_on_disk(place)
        host = place.host(
            models_config=_registry(place),
            mcp_config=_mcp_servers(place),
            wait_for_tools=True,
            alerts={"model-failed": {"for": 0}},
            alert_interval=0.5,
        )
        taken = place.enter(socket.create_server(("127.0.0.1", 0)))
        port = str(taken.getsockname()[1])
        values = {"host": host.url, "hub": _hub(place), "nowhere": NOWHERE, "taken": port}
        return {
            "commands/with_host.txt": record_commands(commands.WITH_HOST, values, place, Normaliser(place.places)),
            "commands/without_host.txt": record_commands(
                commands.WITHOUT_HOST, values, place, Normaliser(place.places)
            ),
        }


def _declarations() -> Recorded:
    return {
        "commands/tree.txt": command_tree(),
        "settings.txt": documents.settings(),
        "log_events.txt": documents.log_events(),
        "error_answers.txt": documents.error_answers(),
    }


def _registry(place: Surroundings) -> str:
    return write_registry(
        place.work / "registry.yaml",
        scripted("one", aliases=["first"], options=SHORT, params={"slots": 4}),
        scripted("two", options=SHORT, params={"slots": 4}),
        scripted("broken", options={"fail_load": "the tensors are missing"}),
        nano("large", params={"context_length": 512, "slots": 2}),
    )


def _hub(place: Surroundings) -> str:
    """Return the address of a hub with one model."""
    hub = place.enter(serve_hub(**{"org/nano-GGUF": Repository(files={"nano-F16.gguf": NANO.read_bytes()})}))
    return str(hub.endpoint)


def _mcp_servers(place: Surroundings) -> str:
    stub = {"stub": {**stub_server(), "allowedTools": STUB_TOOLS}}
    place.file("stub.json", json.dumps({"mcpServers": stub}))
    sdk = {"sdk": {**sdk_server(), "allowedTools": SDK_TOOLS}}
    return place.file("tools.json", json.dumps({"mcpServers": {**stub, **sdk}}))


def _models_on_disk(place: Surroundings) -> None:
    place.file("models/nano.gguf", NANO.read_bytes())
    place.file("models/broken.gguf", b"GGUF, or so they say")
    place.file("broken.gguf", b"GGUF, or so they say")
    place.file("hf-model/config.json", '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    place.file("hf-model/model.safetensors", b"\x08\0\0\0\0\0\0\0{}      ")
    write_ollama(place.work / "ollama", "registry.ollama.ai/library/nano/latest", NANO.read_bytes())
    write_lm_studio(place.folder / "home" / ".lmstudio" / "models", "org/nano-GGUF/nano-Q8_0.gguf", NANO.read_bytes())
    place.file("sound.wav", b"RIFF\0\0\0\0WAVE/echo one two")
    place.file("pipeline/model_index.json", '{"_class_name": "FluxPipeline"}')
    place.file("file", b"")
    place.file("good.yaml", "port: 9000\n")
    place.file("bad.yaml", "prot: 9000\nmax_models: many\n")


TOPICS: Final[Mapping[str, Callable[[], Recorded]]] = {
    "declarations": _declarations,
    "generation": _generation,
    "limits": _limits,
    "state": _state,
    "administration": _administration,
    "mcp": _mcp,
    "commands": _commands,
}
