"""The models of a host with a registry: ``one`` and ``two`` work, ``broken`` cannot be loaded."""

from __future__ import annotations

from typing import Final

from tests.goldens.http_scenarios import BEGUN, CHAT, Metric, Request, Said, Scenario, chat, one

LOAD: Final = "POST /v1/models/load"
UNLOAD: Final = "POST /v1/models/unload"
LOAD_ONE: Final = Request(line=LOAD, body={"model_id": "one", "wait": True})
HANGING: Final = chat("/hang 1", model="one", stream=True)

MODELS: Final[tuple[Scenario, ...]] = (
    one("list before anything is loaded", "GET /v1/models"),
    one("status before anything is loaded", "GET /v1/models/status"),
    one("probe before anything is loaded", "GET /ready"),
    one("load", LOAD, {"model_id": "one", "wait": True}),
    one("load once more", LOAD, {"model_id": "one"}),
    one("list", "GET /v1/models"),
    one("one of the list", "GET /v1/models/one"),
    one("one that there is not", "GET /v1/models/none"),
    one("status", "GET /v1/models/status"),
    one("info", "GET /v1/models/one/info"),
    one("info of a model that there is not", "GET /v1/models/none/info"),
    one("log of a model", "GET /v1/models/one/logs?limit=5"),
    one("description for LLM clients", "GET /v1/llm/info"),
    one("select", "POST /v1/models/select", {"model_id": "one"}),
    one("defaults", "POST /v1/models/config", {"model_id": "one", "config": {"temperature": 0.5, "max_tokens": 3}}),
    one("defaults that are none", "POST /v1/models/config", {"model_id": "one", "config": {"temperature": "hot"}}),
    one("load of a model that there is not", LOAD, {"model_id": "none"}),
    one("load without a name", LOAD, {}),
    one("load with an unknown parameter", LOAD, {"model_id": "one", "colour": "red"}),
    one("query that is given twice", "GET /v1/models/one/logs?limit=1&limit=2"),
    Scenario(
        name="events",
        steps=(
            Request(
                line="GET /v1/models/events",
                held_until=Said(text="event: state", times=4),
                leaves_after=Said(text='"state":"unloaded"', times=4),
            ),
            Request(line=UNLOAD, body={"model_id": "one"}),
        ),
    ),
    one("load of a model that is broken", LOAD, {"model_id": "broken", "wait": True}),
    one("chat with a model that is broken", CHAT, chat("hello", model="broken"), may_miss="x-queue-position"),
    Scenario(
        name="unload while it answers",
        steps=(
            LOAD_ONE,
            Request(line=CHAT, body=HANGING, held_until=BEGUN),
            Request(
                line=CHAT,
                body=chat("/hang 0", model="one"),
                held_until=Metric(name="modelhost_requests_in_flight", value=2),
            ),
            Request(line=UNLOAD, body={"model_id": "one"}),
            Request(line=UNLOAD, body={"model_id": "one", "force": True}),
        ),
    ),
    one("unload of what is not loaded", UNLOAD, {"model_id": "one"}),
    one("pull", "POST /v1/models/pull", {"model": "org/nano-GGUF"}),
    one("pull of what the hub does not have", "POST /v1/models/pull", {"model": "org/none"}),
    one("pull of what is no name", "POST /v1/models/pull", {"model": "no name"}),
    one("load of a model that the hub does not have", LOAD, {"model_id": "org/none"}),
    one("load of a path", LOAD, {"model_id": "./model.gguf"}),
    one("load of a model of the hub", LOAD, {"model_id": "hf://org/nano-GGUF", "wait": True}),
    one("pull as events", "POST /v1/models/pull", {"model": "org/nano-GGUF"}, headers={"Accept": "text/event-stream"}),
    one("unload of what was added", UNLOAD, {"model_id": "org/nano-GGUF"}),
    Scenario(
        name="load with another configuration",
        steps=(
            LOAD_ONE,
            Request(line=LOAD, body={"model_id": "one", "wait": True, "max_model_len": 512}),
            Request(line="GET /v1/models/one/info"),
            LOAD_ONE,
        ),
    ),
    one(
        "load with a configuration that its engine cannot honour",
        LOAD,
        {"model_id": "one", "dtype": "bfloat16", "tensor_parallel_size": 2},
    ),
    one("load with a configuration to stay that there is not", LOAD, {"model_id": "one", "persist": True}),
)
