"""The operations that change what models do: load, unload, select, configure and pull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AliasChoices, Field

from modelhost import errors
from modelhost.config.request_defaults import LARGEST_COUNT, RequestDefaults
from modelhost.engines.load_config import LOAD_FIELDS, LoadConfig
from modelhost.models.residency.status import State
from modelhost.operations.models import OneModel, main_name, status_of
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Progress, Result
from modelhost.operations.reports import BYTES_HELP, CONDITIONS, Condition, megabytes

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.models.hub.progress import DownloadProgress, FileProgress

NewModelId = Annotated[
    str,
    Field(
        min_length=1,
        description="A model of the host: its name or an alias. Or a model to add first, if `allow_models` "
        "permits it: `org/name` or `org/name:Q4_K_M` on the hub, or a path.",
        validation_alias=AliasChoices("model_id", "model"),
    ),
]


class LoadParameters(OneModel):
    """A model to load. With a configuration, in vLLM's words, it is loaded so, anew if it is loaded otherwise."""

    model_id: NewModelId
    wait: bool = Field(default=False, description="Answer only when the model is ready.")
    max_model_len: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="Maximum tokens per conversation."
    )
    dtype: str | None = Field(
        default=None, min_length=1, description="Number format: `auto`, `float16`, `bfloat16` or `float32`."
    )
    quantization: str | None = Field(default=None, min_length=1, description="Quantization of the weights, or `none`.")
    tensor_parallel_size: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="GPUs that share each layer."
    )
    pipeline_parallel_size: int | None = Field(
        default=None, ge=1, le=LARGEST_COUNT, description="Groups of GPUs that each hold some of the layers."
    )
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="The share of each GPU's memory that the model may use."
    )
    enforce_eager: bool | None = Field(default=None, description="Compute without CUDA graphs.")
    enable_prefix_caching: bool | None = Field(default=None, description="Reuse computed beginnings of prompts.")
    persist: bool = Field(
        default=False,
        description="Keep this configuration for later loads. Otherwise the next load without a configuration "
        "restores the earlier one.",
    )
    force: bool = Field(
        default=False, description="Cancel its requests if the model is reloaded, instead of letting them finish."
    )

    @property
    def config(self) -> LoadConfig:
        return LoadConfig(**{name: getattr(self, name) for name in LOAD_FIELDS})


class UnloadParameters(OneModel):
    """A model to unload."""

    force: bool = Field(default=False, description="Cancel its requests, if there are any.")


class ConfigParameters(OneModel):
    """A model, and what its requests are to get where they are silent."""

    config: RequestDefaults = Field(description="The values to change; `null` removes a default.")


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


class Loading(Result):
    """What asking for a model has begun."""

    success: bool
    model_id: str
    status: Condition
    state: State
    estimated_load_time: float | None = Field(
        description="Seconds, estimated from earlier loads or from the size of the files; `null` if unknown."
    )
    memory_required_mb: int | None = Field(
        description="The sum over all pools; `null` while the files are not on this machine."
    )
    memory_required_bytes: dict[str, int] | None = Field(description=f"The same {BYTES_HELP}")
    position: int | None = Field(description="The model's place among those that wait to be loaded, from 1.")


class Unloading(Result):
    """A model that is no longer loaded."""

    success: bool
    model_id: str
    status: Condition
    memory_freed_mb: int = Field(description="The sum over all pools; 0 if the model was not loaded.")
    memory_freed_bytes: dict[str, int] = Field(description=f"The same {BYTES_HELP}")


class Selection(Result):
    """The model that answers requests that name none."""

    status: Literal["already_active", "switching", "ready"]
    model: str
    queue_length: int = Field(description="Requests waiting.")


class Configuration(Result):
    """The request defaults of a model, all that are in force now."""

    success: bool
    model_id: str
    updated_config: dict[str, Any]


class Pulled(Result):
    """A model whose files are on this machine."""

    success: bool
    model: str
    model_id: str = Field(description="The model's name on the host.")
    path: str = Field(description="The model's file on the host's machine; for a model in parts, the first.")


async def _load(host: Host, parameters: LoadParameters, on_progress: OnProgress) -> Loading:
    name = await _name_to_load(host, parameters.model_id, on_progress)
    begun = await host.load(
        name, config=parameters.config, persist=parameters.persist, force=parameters.force, wait=parameters.wait
    )
    need = begun.need_bytes
    return Loading(
        success=begun.state is not State.FAILED,
        model_id=begun.model,
        status=CONDITIONS[begun.state],
        state=begun.state,
        estimated_load_time=None if begun.estimated_seconds is None else round(begun.estimated_seconds, 2),
        memory_required_mb=megabytes(need),
        memory_required_bytes=None if need is None else dict(need),
        position=begun.position,
    )


async def _unload(host: Host, parameters: UnloadParameters, _on_progress: OnProgress) -> Unloading:
    unloaded = await host.unload(main_name(host, parameters.model_id), force=parameters.force)
    return Unloading(
        success=True,
        model_id=unloaded.model,
        status="unloaded",
        memory_freed_mb=megabytes(unloaded.freed_bytes) or 0,
        memory_freed_bytes=dict(unloaded.freed_bytes),
    )


async def _select(host: Host, parameters: OneModel, _on_progress: OnProgress) -> Selection:
    selected = host.select(_name_without_adapter(host, parameters.model_id))
    return Selection(status=selected.status, model=selected.model, queue_length=selected.queue_length)


async def _configure(host: Host, parameters: ConfigParameters, _on_progress: OnProgress) -> Configuration:
    name = _name_without_adapter(host, parameters.model_id)
    in_force = host.configure(name, parameters.config.model_dump(exclude_unset=True))
    return Configuration(success=True, model_id=name, updated_config=dict(in_force))


async def _pull(host: Host, parameters: PullParameters, on_progress: OnProgress) -> Pulled:
    pulled = await host.pull(
        parameters.model, revision=parameters.revision, on_progress=_download_progress(on_progress)
    )
    return Pulled(success=True, model=parameters.model, model_id=pulled.name, path=str(pulled.path))


def _download_progress(on_progress: OnProgress) -> DownloadProgress:
    def report(progress: FileProgress) -> None:
        part = f" ({progress.part} of {progress.parts})" if progress.parts > 1 else ""
        on_progress(Progress(fraction=progress.fraction, message=f"downloading {progress.file}{part}"))

    return report


async def _name_to_load(host: Host, name: str, on_progress: OnProgress) -> str:
    """Return the main name of a model, which is added to the host's models if necessary and allowed."""
    try:
        return (await host.find_or_add(name, on_progress=_download_progress(on_progress))).name
    except (errors.ModelNotFound, errors.ModelNotAllowed) as error:
        error.param = "model_id"
        raise


def _name_without_adapter(host: Host, name: str) -> str:
    """Return the main name of a model.

    Raises:
        InvalidRequest: ``name`` includes an adapter, which would be ignored.
    """
    model = main_name(host, name)
    status = status_of(host, model)
    if name in {f"{each}:{adapter}" for each in (model, *status.aliases) for adapter in status.adapters}:
        raise errors.InvalidRequest(
            f'"{name}" is {model} with an adapter, which each request chooses for itself; name "{model}".',
            param="model_id",
        )
    return model


LOAD: Final = Operation(
    name="load-model",
    summary="Load a model, optionally with another configuration, and return the expected load time",
    work=_load,
    route=HttpRoute(method="POST", path="/v1/models/load"),
    command="load",
    errors=(
        errors.ModelNotFound,
        errors.ModelNotAllowed,
        errors.WorkerStartFailed,
        errors.ModelFailed,
        errors.InsufficientMemory,
        errors.QueueTimeout,
        errors.DownloadFailed,
        errors.EngineMissing,
        errors.ModelFileMissing,
        errors.ModelFileInvalid,
    ),
    reports_progress=True,
    audited=("model_id", "model", "wait", *LOAD_FIELDS, "persist", "force"),
    example={"model_id": "qwen", "wait": False, "max_model_len": 16384},
    answer={
        "success": True,
        "model_id": "qwen",
        "status": "loading",
        "state": "loading",
        "estimated_load_time": 3.2,
        "memory_required_mb": 4400,
        "memory_required_bytes": {"ram": 4400000000},
        "position": None,
    },
)
UNLOAD: Final = Operation(
    name="unload-model",
    summary="Unload a model",
    work=_unload,
    route=HttpRoute(method="POST", path="/v1/models/unload"),
    command="unload",
    errors=(errors.ModelNotFound, errors.ModelBusy),
    audited=("model_id", "model", "force"),
    example={"model_id": "qwen", "force": False},
    answer={
        "success": True,
        "model_id": "qwen",
        "status": "unloaded",
        "memory_freed_mb": 4212,
        "memory_freed_bytes": {"ram": 4211081216},
    },
)
SELECT: Final = Operation(
    name="select-model",
    summary="Select the active model, which answers requests without a model",
    work=_select,
    route=HttpRoute(method="POST", path="/v1/models/select"),
    command="select",
    errors=(errors.ModelNotFound,),
    audited=("model_id", "model"),
    example={"model_id": "qwen"},
    answer={"status": "switching", "model": "qwen", "queue_length": 0},
)
CONFIGURE: Final = Operation(
    name="set-model-config",
    summary="Set a model's default request parameters",
    work=_configure,
    route=HttpRoute(method="POST", path="/v1/models/config"),
    command="set",
    errors=(errors.ModelNotFound,),
    audited=("model_id", "model", "config"),
    example={"model_id": "qwen", "config": {"max_tokens": 1024, "temperature": 0.7}},
    answer={
        "success": True,
        "model_id": "qwen",
        "updated_config": {"max_tokens": 1024, "temperature": 0.7},
    },
)
PULL: Final = Operation(
    name="pull-model",
    summary="Download a model from the hub and add it to the host; answers when the download is complete",
    work=_pull,
    route=HttpRoute(method="POST", path="/v1/models/pull"),
    command=None,  # `modelhost models pull` needs no host, unless it is given one
    errors=(errors.ModelNotAllowed, errors.DownloadFailed, errors.EngineMissing),
    reports_progress=True,
    audited=("model", "model_id", "revision"),
    example={"model": "Qwen/Qwen3-4B-GGUF:Q4_K_M", "revision": "main"},
    answer={
        "success": True,
        "model": "Qwen/Qwen3-4B-GGUF:Q4_K_M",
        "model_id": "Qwen/Qwen3-4B-GGUF:Q4_K_M",
        "path": "/home/me/.cache/huggingface/hub/models--Qwen--Qwen3-4B-GGUF/snapshots/bc64/Qwen3-4B-Q4_K_M.gguf",
    },
)
