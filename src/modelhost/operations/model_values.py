"""What the operations on models take, and what they answer where that is more than a report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from modelhost.config.request_defaults import LARGEST_COUNT, RequestDefaults
from modelhost.engines.load_config import LOAD_FIELDS, LoadConfig
from modelhost.models.residency.status import State
from modelhost.operations.cards import ModelCard
from modelhost.operations.operation import Parameters, Result
from modelhost.operations.reports import BYTES_HELP, Condition, EventReport

ModelId = Annotated[
    str,
    Field(
        min_length=1,
        description="A model of the host, by its name or an alias.",
        validation_alias=AliasChoices("model_id", "model"),
    ),
]


NewModelId = Annotated[
    str,
    Field(
        min_length=1,
        description="A model of the host, by its name or an alias; or one that is added to them first, as far as "
        "`allow_models` lets it be: `org/name`, `org/name:Q4_K_M` of the hub, a path.",
        validation_alias=AliasChoices("model_id", "model"),
    ),
]


class OneModel(Parameters):
    """A model."""

    model_id: ModelId


class LogParameters(OneModel):
    """A model, and how much of its log."""

    limit: int = Field(
        default=200, ge=1, le=1000, strict=False, description="Lines, and events, at most: those that came last."
    )


class LoadParameters(OneModel):
    """A model to load. With a configuration, in vLLM's words, it is loaded so, anew if it is loaded otherwise."""

    model_id: NewModelId
    wait: bool = Field(default=False, description="Answer when it is ready, and not at once.")
    max_model_len: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="Tokens that one conversation may hold."
    )
    dtype: str | None = Field(
        default=None, min_length=1, description="Its number format: `auto`, `float16`, `bfloat16` or `float32`."
    )
    quantization: str | None = Field(
        default=None, min_length=1, description="How its weights are quantized, or `none`."
    )
    tensor_parallel_size: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="GPUs that share each layer."
    )
    pipeline_parallel_size: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="Groups of GPUs that have some of the layers each."
    )
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="The part of each GPU's memory that it may take."
    )
    enforce_eager: bool | None = Field(default=None, description="Compute without CUDA graphs.")
    enable_prefix_caching: bool | None = Field(
        default=None, description="Keep what was computed for the beginning of a prompt."
    )
    persist: bool = Field(
        default=False,
        description="Load it so from now on. Without, the next load without a configuration has the earlier one again.",
    )
    force: bool = Field(
        default=False, description="Cut off its requests if it is loaded anew, rather than let them finish."
    )

    @property
    def config(self) -> LoadConfig:
        """The configuration among them."""
        return LoadConfig(**{name: getattr(self, name) for name in LOAD_FIELDS})


class UnloadParameters(OneModel):
    """A model to unload."""

    force: bool = Field(default=False, description="Cut off the requests that it works on, if there are any.")


class ConfigParameters(OneModel):
    """A model, and what its requests are to get where they are silent."""

    config: RequestDefaults = Field(description="What to change; `null` takes a default away.")


class PullParameters(Parameters):
    """A model on the Hugging Face hub."""

    model: Annotated[
        str,
        Field(
            min_length=1,
            description="`org/name`, `org/name:Q4_K_M` or `org/name:file.gguf`.",
            validation_alias=AliasChoices("model", "model_id"),
        ),
    ]
    revision: str | None = Field(default=None, min_length=1, description="A branch, tag or commit. Default: `main`.")


class Models(Result):
    """All models of the host, the active one first."""

    models: list[ModelCard]


class ModelLogs(Result):
    """What can be read about a model when something is wrong with it."""

    model_id: str
    status: Condition
    lines: list[str] = Field(description="What its worker wrote to its log, or the one before it did.")
    events: list[EventReport] = Field(description="What happened to it, the newest at the end.")


class Loading(Result):
    """What asking for a model has begun."""

    success: bool
    model_id: str
    status: Condition
    state: State
    estimated_load_time: float | None = Field(
        description="Seconds, from earlier loads or else from the size of its files; `null` is unknown."
    )
    memory_required_mb: int | None = Field(description="Over all pools; `null` as long as its files are not here.")
    memory_required_bytes: dict[str, int] | None = Field(description=f"The same {BYTES_HELP}")
    position: int | None = Field(description="Its place among the models that wait to be loaded, from 1.")


class Unloading(Result):
    """A model that is no longer loaded."""

    success: bool
    model_id: str
    status: Condition
    memory_freed_mb: int = Field(description="Over all pools; 0 if it was not loaded.")
    memory_freed_bytes: dict[str, int] = Field(description=f"The same {BYTES_HELP}")


class Selection(Result):
    """The model that answers requests that name none."""

    status: Literal["already_active", "switching", "ready"]
    model: str
    queue_length: int = Field(description="Requests that wait for it.")


class Configuration(Result):
    """The request defaults of a model, all that are in force now."""

    success: bool
    model_id: str
    updated_config: dict[str, Any]


class Pulled(Result):
    """A model whose files are on this machine."""

    success: bool
    model: str
    model_id: str = Field(description="What the host calls it.")
    path: str = Field(description="Its file on the machine of the host; of a model in parts the first.")
