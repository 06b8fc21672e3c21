"""A model as an entry of lists, and in detail."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from modelhost.engines.adapters import TASKS_WITHOUT_ADAPTERS, adapter_model_name
from modelhost.models.residency.status import ModelStatus, State
from modelhost.operations import reports
from modelhost.operations.operation import Result

GENERATING: Final = frozenset({"chat", "completions"})


class ModelCard(Result):
    """One model, as OpenAI lists it, with what the host knows besides."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Time of the load, in seconds since 1970; 0 if the model is not loaded.")
    owned_by: str = "modelhost"
    name: str
    aliases: list[str] = Field(description="Further names of the model.")
    engine: str
    state: State = Field(description="unloaded, queued, loading, ready, busy, stopping or failed.")
    status: reports.Condition = Field(description="The same, in fewer values.")
    context_length: int | None = Field(description="Maximum tokens per conversation.")
    max_model_len: int | None = Field(description="The same, under vLLM's name.")
    context_window: int | None = Field(description="The same, under another name.")
    max_tokens: int | None = Field(description=reports.MAX_TOKENS_HELP)
    memory_usage_mb: int | None = Field(description="Measured memory use.")
    memory_required_mb: int | None = Field(
        description="Expected memory use; `null` if its files are not on this machine."
    )
    tensor_parallel_size: int = Field(default=1, description="GPUs that share each layer.")
    pipeline_parallel_size: int = Field(default=1, description="Groups of GPUs that each hold some of the layers.")
    dtype: reports.Dtype = None
    quantization: reports.Quantization = None
    load_config: dict[str, Any] = Field(default_factory=dict, description=reports.LOAD_CONFIG_HELP)
    is_config_temporary: bool = Field(default=False, description=reports.TEMPORARY_HELP)
    slots: int | None = Field(description="Conversations that the model can process at the same time.")
    operations: list[str] = Field(
        description="Supported operations: chat, completions, embeddings, rerank, tokenize, detokenize, speech, "
        "transcription, images, image_edits; before the model has been loaded, those that its files tell."
    )
    sees_images: bool | None = Field(default=None, description="Whether the model accepts images; `null` if unknown.")
    hears_audio: bool | None = Field(default=None, description="Whether the model accepts sound; `null` if unknown.")
    parent: str | None = Field(
        default=None, description="The base model, if this entry is a model with a LoRA adapter; otherwise `null`."
    )
    adapters: list[str] = Field(default_factory=list, description=reports.ADAPTERS_HELP)


class ModelConfig(Result):
    """How a model is set up."""

    context_window: int | None = Field(description="Maximum tokens per conversation.")
    max_tokens: int | None = Field(description=reports.MAX_TOKENS_HELP)
    tensor_parallel_size: int = Field(default=1, description="GPUs that share each layer.")
    pipeline_parallel_size: int = Field(default=1, description="Groups of GPUs that each hold some of the layers.")
    dtype: reports.Dtype = None
    quantization: reports.Quantization = None
    load_config: dict[str, Any] = Field(default_factory=dict, description=reports.LOAD_CONFIG_HELP)
    is_config_temporary: bool = Field(default=False, description=reports.TEMPORARY_HELP)
    slots: int | None = Field(description="Conversations that the model can process at the same time.")
    is_pinned: bool = Field(description="Whether the model is pinned: it is never evicted.")
    idle_unload_seconds: reports.IdleUnloadSeconds
    defaults: dict[str, Any] = Field(description="The model's request defaults.")


class ModelPerformance(Result):
    """How a model does."""

    memory_usage_mb: int | None = Field(description="Measured memory use.")
    throughput_tokens_per_second: float | None = Field(description=reports.THROUGHPUT_HELP)
    latency_ms: float | None = Field(description=f"Milliseconds {reports.LATENCY_HELP}")
    gpu_utilization: float | None = Field(
        default=None,
        description="Current utilization of the model's GPUs, 0 to 1; `null` if it is on none, or they do not "
        "report it.",
    )
    in_flight: int = Field(description="Requests at work.")
    queue_length: int = Field(description="Requests waiting.")


class ModelCapabilities(Result):
    """What a model can do; `null` before it has been loaded once, and of media if its engine does not tell."""

    supports_streaming: bool | None
    supports_logprobs: bool | None
    supports_multiple_choice: bool | None
    supports_function_calling: bool | None
    supports_embeddings: bool | None
    supports_rerank: bool | None
    supports_vision: bool | None
    supports_audio: bool | None


class ModelInfo(Result):
    """One model in detail."""

    model_id: str
    name: str
    status: reports.Condition
    state: State
    engine: str
    aliases: list[str]
    notes: str | None
    last_error: str | None
    adapters: list[str] = Field(default_factory=list, description=reports.ADAPTERS_HELP)
    config: ModelConfig
    performance: ModelPerformance
    capabilities: ModelCapabilities


def model_card(status: ModelStatus) -> ModelCard:
    is_loaded = reports.CONDITIONS[status.state] == "loaded" and status.loaded_at is not None
    return ModelCard(
        id=status.name,
        created=int(status.loaded_at or 0) if is_loaded else 0,
        name=status.name,
        aliases=list(status.aliases),
        engine=status.engine,
        state=status.state,
        status=reports.condition_of(status),
        context_length=status.context_length,
        max_model_len=status.context_length,
        context_window=status.context_length,
        max_tokens=status.max_tokens,
        memory_usage_mb=reports.megabytes(status.memory_bytes),
        memory_required_mb=reports.megabytes(status.need_bytes),
        **_load_options(status),
        slots=status.slots,
        operations=sorted(status.operations),
        sees_images=status.sees_images,
        hears_audio=status.hears_audio,
        adapters=list(status.adapters),
    )


def adapter_cards(status: ModelStatus) -> list[ModelCard]:
    """Return a card for each adapter of a model: as in vLLM, a model whose parent is the base model."""
    card = model_card(status)
    return [
        card.model_copy(
            update={
                "id": adapter_model_name(status.name, adapter),
                "name": adapter_model_name(status.name, adapter),
                "aliases": [adapter_model_name(alias, adapter) for alias in status.aliases],
                "operations": [each for each in card.operations if each not in TASKS_WITHOUT_ADAPTERS],
                "parent": status.name,
                "adapters": [],
            }
        )
        for adapter in status.adapters
    ]


def model_info(status: ModelStatus, *, gpu_utilization: float | None = None) -> ModelInfo:
    return ModelInfo(
        model_id=status.name,
        name=status.name,
        status=reports.condition_of(status),
        state=status.state,
        engine=status.engine,
        aliases=list(status.aliases),
        notes=status.notes,
        last_error=reports.error_of(status),
        adapters=list(status.adapters),
        config=ModelConfig(
            context_window=status.context_length,
            max_tokens=status.max_tokens,
            **_load_options(status),
            slots=status.slots,
            is_pinned=status.is_pinned,
            idle_unload_seconds=status.idle_unload_seconds,
            defaults=dict(status.defaults),
        ),
        performance=_performance(status, gpu_utilization),
        capabilities=_capabilities(status),
    )


def _load_options(status: ModelStatus) -> dict[str, Any]:
    """Return number format, quantization and parallelism of a model, and the load configuration."""
    options = status.engine_options
    return {
        "tensor_parallel_size": _count(options.get("tensor_parallel_size")),
        "pipeline_parallel_size": _count(options.get("pipeline_parallel_size")),
        "dtype": status.dtype,
        "quantization": status.quantization,
        "load_config": dict(status.load_config),
        "is_config_temporary": status.is_config_temporary,
    }


def _count(option: Any) -> int:
    """Return a valid count: options are only checked when a model is started."""
    return option if isinstance(option, int) and option > 0 else 1


def _performance(status: ModelStatus, gpu_utilization: float | None) -> ModelPerformance:
    speed, latency = status.tokens_per_second, status.latency_seconds
    return ModelPerformance(
        memory_usage_mb=reports.megabytes(status.memory_bytes),
        throughput_tokens_per_second=None if speed is None else round(speed, 1),
        latency_ms=None if latency is None else round(latency * 1000, 1),
        gpu_utilization=None if gpu_utilization is None else round(gpu_utilization, 2),
        in_flight=status.in_flight,
        queue_length=status.queue_length,
    )


def _capabilities(status: ModelStatus) -> ModelCapabilities:
    operations = frozenset(status.operations)

    def can(*any_of: str) -> bool | None:
        return bool(operations.intersection(any_of)) if operations else None

    generates = can(*GENERATING)
    return ModelCapabilities(
        supports_streaming=generates,
        supports_logprobs=generates,
        supports_multiple_choice=generates,
        supports_function_calling=can("chat"),
        supports_embeddings=can("embeddings"),
        supports_rerank=can("rerank"),
        supports_vision=status.sees_images,
        supports_audio=status.hears_audio,
    )
