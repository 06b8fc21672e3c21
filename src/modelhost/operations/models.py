"""The operations on models."""

from __future__ import annotations

from typing import Final

from modelhost.engines.load_config import LOAD_FIELDS
from modelhost.errors import (
    DownloadFailed,
    EngineMissing,
    InsufficientMemory,
    InvalidRequest,
    ModelBusy,
    ModelFailed,
    ModelFileInvalid,
    ModelFileMissing,
    ModelNotAllowed,
    ModelNotFound,
    QueueTimeout,
    WorkerStartFailed,
)
from modelhost.models.residency.status import ModelStatus, State
from modelhost.operations import model_examples
from modelhost.operations.administered_host import AdministeredHost, FileStep, OnFileStep
from modelhost.operations.cards import ModelInfo, adapter_cards, model_card, model_info
from modelhost.operations.model_values import (
    ConfigParameters,
    Configuration,
    Loading,
    LoadParameters,
    LogParameters,
    ModelLogs,
    Models,
    OneModel,
    Pulled,
    PullParameters,
    Selection,
    Unloading,
    UnloadParameters,
)
from modelhost.operations.operation import (
    AnyOperation,
    HttpRoute,
    NoParameters,
    OnProgress,
    Operation,
    Progress,
)
from modelhost.operations.reports import CONDITIONS, HostReport, condition_of, event_report, host_report, megabytes


async def _list(host: AdministeredHost, _nothing: NoParameters, _on_progress: OnProgress) -> Models:
    await host.refresh_previews()
    status = host.status()
    # Clients that do not choose take the first.
    in_order = sorted(status.models, key=lambda model: model.name != status.active_model)
    return Models(models=[card for model in in_order for card in (model_card(model), *adapter_cards(model))])


async def _status(host: AdministeredHost, _nothing: NoParameters, _on_progress: OnProgress) -> HostReport:
    await host.refresh_previews()
    return host_report(host.status())


async def _info(host: AdministeredHost, asked: OneModel, _on_progress: OnProgress) -> ModelInfo:
    name = _main_name(host, asked.model_id)
    await host.refresh_previews()
    return model_info(_status_of(host, name), gpu_utilization=await host.gpu_utilization(name))


async def _load(host: AdministeredHost, asked: LoadParameters, on_progress: OnProgress) -> Loading:
    name = await _name_to_load(host, asked.model_id, on_progress)
    begun = await host.load(name, config=asked.config, persist=asked.persist, force=asked.force, wait=asked.wait)
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


async def _unload(host: AdministeredHost, asked: UnloadParameters, _on_progress: OnProgress) -> Unloading:
    unloaded = await host.unload(_main_name(host, asked.model_id), force=asked.force)
    return Unloading(
        success=True,
        model_id=unloaded.model,
        status="unloaded",
        memory_freed_mb=megabytes(unloaded.freed_bytes) or 0,
        memory_freed_bytes=dict(unloaded.freed_bytes),
    )


async def _select(host: AdministeredHost, asked: OneModel, _on_progress: OnProgress) -> Selection:
    selected = host.select(_name_without_adapter(host, asked.model_id))
    return Selection(status=selected.status, model=selected.model, queue_length=selected.queue_length)


async def _configure(host: AdministeredHost, asked: ConfigParameters, _on_progress: OnProgress) -> Configuration:
    name = _name_without_adapter(host, asked.model_id)
    in_force = host.configure(name, asked.config.model_dump(exclude_unset=True))
    return Configuration(success=True, model_id=name, updated_config=dict(in_force))


async def _pull(host: AdministeredHost, asked: PullParameters, on_progress: OnProgress) -> Pulled:
    pulled = await host.pull(asked.model, revision=asked.revision, on_progress=_as_steps_of_files(on_progress))
    return Pulled(success=True, model=asked.model, model_id=pulled.name, path=str(pulled.path))


def _as_steps_of_files(on_progress: OnProgress) -> OnFileStep:
    def tell(progress: FileStep) -> None:
        part = f" ({progress.part} of {progress.parts})" if progress.parts > 1 else ""
        on_progress(Progress(fraction=progress.fraction, message=f"downloading {progress.file}{part}"))

    return tell


async def _name_to_load(host: AdministeredHost, name: str, on_progress: OnProgress) -> str:
    """Return the main name of a model, which is added to those of the host if it may be and is none of them."""
    try:
        return (await host.find_or_add(name, on_progress=_as_steps_of_files(on_progress))).name
    except (ModelNotFound, ModelNotAllowed) as error:
        error.param = "model_id"
        raise


def _main_name(host: AdministeredHost, name: str) -> str:
    try:
        return host.find(name).name
    except ModelNotFound as error:
        error.param = "model_id"
        raise


def _name_without_adapter(host: AdministeredHost, name: str) -> str:
    """Return the main name of a model.

    Raises:
        InvalidRequest: ``name`` has an adapter besides, which would be lost.
    """
    model = _main_name(host, name)
    status = _status_of(host, model)
    if name in {f"{each}:{adapter}" for each in (model, *status.aliases) for adapter in status.adapters}:
        raise InvalidRequest(
            f'"{name}" is {model} with an adapter, which each request chooses for itself; name "{model}".',
            param="model_id",
        )
    return model


def _status_of(host: AdministeredHost, name: str) -> ModelStatus:
    return next(model for model in host.status().models if model.name == name)


async def _logs(host: AdministeredHost, asked: LogParameters, _on_progress: OnProgress) -> ModelLogs:
    name = _main_name(host, asked.model_id)
    log = host.model_log(name)
    return ModelLogs(
        model_id=name,
        status=condition_of(_status_of(host, name)),
        lines=list(log.lines[-asked.limit :]),
        events=[event_report(event) for event in log.events[-asked.limit :]],
    )


LIST: Final = Operation(
    name="list-models",
    summary="List the models, loaded or not",
    parameters=NoParameters,
    result=Models,
    work=_list,
    route=None,  # OpenAI's list: http/openai/models.py
    command=None,
    is_read_only=True,
    example={},
    answer=model_examples.LIST,
)
STATUS: Final = Operation(
    name="models-status",
    summary="Say what each model is doing, and what memory they take",
    parameters=NoParameters,
    result=HostReport,
    work=_status,
    route=HttpRoute(method="GET", path="/v1/models/status"),
    command="status",
    is_read_only=True,
    example={},
    answer=model_examples.STATUS,
)
INFO: Final = Operation(
    name="get-model-info",
    summary="Say how a model is set up, how it does and what it can do",
    parameters=OneModel,
    result=ModelInfo,
    work=_info,
    route=HttpRoute(method="GET", path="/v1/models/{model_id}/info"),
    command=None,
    is_read_only=True,
    errors=(ModelNotFound,),
    audited=("model_id", "model"),
    example=model_examples.ONE,
    answer=model_examples.INFO,
)
LOGS: Final = Operation(
    name="get-model-logs",
    summary="Show what a model's worker wrote last, and what happened to the model",
    parameters=LogParameters,
    result=ModelLogs,
    work=_logs,
    route=HttpRoute(method="GET", path="/v1/models/{model_id}/logs"),
    command=None,
    is_read_only=True,
    errors=(ModelNotFound,),
    audited=("model_id", "model", "limit"),
    example=model_examples.LOG,
    answer=model_examples.LOGS,
)
LOAD: Final = Operation(
    name="load-model",
    summary="Load a model, with another configuration if one is given; say how long it will take",
    parameters=LoadParameters,
    result=Loading,
    work=_load,
    route=HttpRoute(method="POST", path="/v1/models/load"),
    command="load",
    is_read_only=False,
    errors=(
        ModelNotFound,
        ModelNotAllowed,
        WorkerStartFailed,
        ModelFailed,
        InsufficientMemory,
        QueueTimeout,
        DownloadFailed,
        EngineMissing,
        ModelFileMissing,
        ModelFileInvalid,
    ),
    reports_progress=True,
    audited=("model_id", "model", "wait", *LOAD_FIELDS, "persist", "force"),
    example=model_examples.LOAD,
    answer=model_examples.LOADING,
)
UNLOAD: Final = Operation(
    name="unload-model",
    summary="Unload a model",
    parameters=UnloadParameters,
    result=Unloading,
    work=_unload,
    route=HttpRoute(method="POST", path="/v1/models/unload"),
    command="unload",
    is_read_only=False,
    errors=(ModelNotFound, ModelBusy),
    audited=("model_id", "model", "force"),
    example=model_examples.UNLOAD,
    answer=model_examples.UNLOADING,
)
SELECT: Final = Operation(
    name="select-model",
    summary="Choose the model that answers requests that name none",
    parameters=OneModel,
    result=Selection,
    work=_select,
    route=HttpRoute(method="POST", path="/v1/models/select"),
    command="select",
    is_read_only=False,
    errors=(ModelNotFound,),
    audited=("model_id", "model"),
    example=model_examples.ONE,
    answer=model_examples.SELECTION,
)
CONFIGURE: Final = Operation(
    name="set-model-config",
    summary="Set what a model's requests get where they are silent",
    parameters=ConfigParameters,
    result=Configuration,
    work=_configure,
    route=HttpRoute(method="POST", path="/v1/models/config"),
    command="set",
    is_read_only=False,
    errors=(ModelNotFound,),
    audited=("model_id", "model", "config"),
    example=model_examples.CONFIG,
    answer=model_examples.CONFIGURATION,
)
PULL: Final = Operation(
    name="pull-model",
    summary="Download a model from the hub and add it to the host's; the answer comes when it is here",
    parameters=PullParameters,
    result=Pulled,
    work=_pull,
    route=HttpRoute(method="POST", path="/v1/models/pull"),
    command=None,  # `modelhost models pull` needs no host, unless it is given one
    is_read_only=False,
    errors=(ModelNotAllowed, DownloadFailed, EngineMissing),
    reports_progress=True,
    audited=("model", "model_id", "revision"),
    example=model_examples.PULL,
    answer=model_examples.PULLED,
)
MODEL_OPERATIONS: Final[tuple[AnyOperation, ...]] = (LIST, STATUS, INFO, LOGS, LOAD, UNLOAD, SELECT, CONFIGURE, PULL)
