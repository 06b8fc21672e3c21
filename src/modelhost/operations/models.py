"""The operations that show models: their list, their status, one in detail, its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AliasChoices, Field

from modelhost.errors import ModelNotFound
from modelhost.models.residency.status import HostStatus, ModelStatus, State
from modelhost.operations.cards import ModelCard, ModelInfo, adapter_cards, model_card, model_info
from modelhost.operations.operation import HttpRoute, NoParameters, OnProgress, Operation, Parameters, Result
from modelhost.operations.reports import Condition, EventReport, HostReport, condition_of, event_report, host_report

if TYPE_CHECKING:
    from modelhost.host import Host

ModelId = Annotated[
    str,
    Field(
        min_length=1,
        description="A model of the host: its name or an alias.",
        validation_alias=AliasChoices("model_id", "model"),
    ),
]


class OneModel(Parameters):
    """A model."""

    model_id: ModelId


class LogParameters(OneModel):
    """A model, and how much of its log."""

    limit: int = Field(
        default=200,
        ge=1,
        le=1000,
        strict=False,
        description="Maximum number of log lines and of events; the latest are returned.",
    )


class Models(Result):
    """All models of the host, the active one first."""

    models: list[ModelCard]


class ModelLogs(Result):
    """What can be read about a model when something is wrong with it."""

    model_id: str
    status: Condition
    lines: list[str] = Field(description="Log lines of the model's worker, or of the previous one.")
    events: list[EventReport] = Field(description="Events of the model, the newest last.")


async def _list(host: Host, _parameters: NoParameters, _on_progress: OnProgress) -> Models:
    await host.refresh_previews()
    return _models_of(host.status())


def _models_of(status: HostStatus) -> Models:
    # Clients that do not choose take the first.
    in_order = sorted(status.models, key=lambda model: model.name != status.active_model)
    return Models(models=[card for model in in_order for card in (model_card(model), *adapter_cards(model))])


async def _status(host: Host, _parameters: NoParameters, _on_progress: OnProgress) -> HostReport:
    await host.refresh_previews()
    return host_report(host.status())


async def _info(host: Host, parameters: OneModel, _on_progress: OnProgress) -> ModelInfo:
    name = main_name(host, parameters.model_id)
    await host.refresh_previews()
    return model_info(status_of(host, name), gpu_utilization=await host.gpu_utilization(name))


async def _logs(host: Host, parameters: LogParameters, _on_progress: OnProgress) -> ModelLogs:
    name = main_name(host, parameters.model_id)
    log = host.model_log(name)
    return ModelLogs(
        model_id=name,
        status=condition_of(status_of(host, name)),
        lines=list(log.lines[-parameters.limit :]),
        events=[event_report(event) for event in log.events[-parameters.limit :]],
    )


def main_name(host: Host, name: str) -> str:
    """Return the main name of a model; raises ``ModelNotFound``."""
    try:
        return host.find(name).name
    except ModelNotFound as error:
        error.param = "model_id"
        raise


def status_of(host: Host, name: str) -> ModelStatus:
    """Return the status of the model whose main name is ``name``."""
    return next(model for model in host.status().models if model.name == name)


def _example(state: State = State.READY, in_flight: int = 0) -> HostStatus:
    """Return a host with one model, for the examples of answers."""
    model = ModelStatus(
        name="qwen",
        aliases=("Qwen/Qwen3-4B-GGUF",),
        engine="llamacpp",
        state=state,
        in_flight=in_flight,
        need_bytes={"ram": 4_400_000_000},
        memory_bytes={"ram": 4_211_081_216},
        size_bytes=2_497_280_256,
        context_length=16384,
        max_tokens=1024,
        slots=4,
        tokens_per_second=31.5,
        latency_seconds=0.0842,
        loads=2,
        evictions=1,
        idle_unload_seconds=600.0,
        loaded_at=1_767_225_600.0,
        last_used_at=1_767_225_660.5,
        operations=("chat", "completions", "detokenize", "embeddings", "tokenize"),
        sees_images=False,
        hears_audio=False,
        engine_version="2026.10.11549",
        quantization="Q4_K_M",
        load_config={"max_model_len": 16384},
        is_config_temporary=True,
        defaults={"max_tokens": 1024},
        adapters=("pirate",),
    )
    return HostStatus(
        models=(model,),
        active_model="qwen",
        switch_requested_at=None,
        budget_bytes={"ram": 24_000_000_000},
        used_bytes={"ram": 4_400_000_000},
        max_models=None,
        registry="/etc/modelhost/models.yaml",
    )


LIST: Final = Operation(
    name="list-models",
    summary="List the models, loaded or not",
    work=_list,
    route=None,  # OpenAI's list: http/openai/models.py
    only_reads=True,
    answer=lambda: _models_of(_example()),
)
STATUS: Final = Operation(
    name="models-status",
    summary="Show the state and memory use of all models",
    work=_status,
    route=HttpRoute(method="GET", path="/v1/models/status"),
    command="status",
    answer=lambda: host_report(_example(State.BUSY, in_flight=1)),
)
INFO: Final = Operation(
    name="get-model-info",
    summary="Show a model's configuration, performance and capabilities",
    work=_info,
    route=HttpRoute(method="GET", path="/v1/models/{model_id}/info"),
    errors=(ModelNotFound,),
    audited=("model_id", "model"),
    example={"model_id": "qwen"},
    answer=lambda: model_info(_example().models[0]),
)
LOGS: Final = Operation(
    name="get-model-logs",
    summary="Show the last log lines and events of a model",
    work=_logs,
    route=HttpRoute(method="GET", path="/v1/models/{model_id}/logs"),
    errors=(ModelNotFound,),
    audited=("model_id", "model", "limit"),
    example={"model_id": "qwen", "limit": 100},
    answer={
        "model_id": "qwen",
        "status": "loaded",
        "lines": ["llama_context: n_ctx = 16384"],
        "events": [
            {
                "at": 1767225600.0,
                "kind": "state",
                "model": "qwen",
                "state": "ready",
                "activity": None,
                "progress": None,
                "message": None,
            }
        ],
    },
)
