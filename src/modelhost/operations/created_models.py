"""The operations on models that clients make of others: create, copy and delete. They are served in Ollama's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from modelhost.config.request_defaults import LARGEST_COUNT, RequestDefaults
from modelhost.errors import (
    DiskFull,
    InvalidRequest,
    ModelFileInvalid,
    ModelFileMissing,
    ModelNotAllowed,
    ModelNotFound,
)
from modelhost.models.registry.created import LONGEST_NAME
from modelhost.models.residency.created import NewModel
from modelhost.operations.operation import OnProgress, Operation, Parameters, Result

if TYPE_CHECKING:
    from modelhost.host import Host

NewName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Digest = Annotated[str, Field(pattern=r"^sha256[:-][0-9a-f]{64}$")]


class CreatedMessage(Parameters):
    """A message with which every conversation begins."""

    role: Literal["system", "user", "assistant"]
    content: str


class CreateParameters(Parameters):
    """A model to make, of another or of uploaded files; what is left out is as it is there."""

    model_id: NewName
    source: str | None = Field(default=None, min_length=1, description="A model of the host, or of the hub.")
    files: list[Digest] = Field(default=[], description="Uploaded files: a GGUF model, and its vision encoder.")
    adapters: list[Digest] = Field(default=[], description="Uploaded LoRA adapters, applied to every answer.")
    chat_template: str | None = Field(default=None, min_length=1)
    system: str | None = Field(default=None, description="The system message of conversations that bring none.")
    messages: list[CreatedMessage] = Field(default=[], description="What every conversation begins with.")
    licenses: list[str] = Field(default=[])
    context_length: int | None = Field(default=None, ge=16, le=LARGEST_COUNT)
    gpu_layers: int | None = Field(default=None, ge=0, le=LARGEST_COUNT)
    threads: int | None = Field(default=None, ge=1, le=LARGEST_COUNT)
    config: RequestDefaults = RequestDefaults()


class CopyParameters(Parameters):
    """A model of the host, and the name of its copy."""

    source: str = Field(min_length=1)
    model_id: NewName


class DeleteParameters(Parameters):
    """A model that a client has made."""

    model_id: NewName


class Made(Result):
    """A model that was made or deleted."""

    model_id: str


SETTINGS: Final = ("context_length", "gpu_layers", "threads", "chat_template")


async def _create(host: Host, parameters: CreateParameters, on_progress: OnProgress) -> Made:
    if (parameters.source is None) is not bool(parameters.files):
        raise InvalidRequest("A model is made of another one or of uploaded files: give one of them.", param="from")
    given: dict[str, Any] = {name: getattr(parameters, name) for name in SETTINGS}
    model = await host.created.create(
        NewModel(
            name=parameters.model_id,
            source=parameters.source,
            files=tuple(parameters.files),
            adapters=tuple(parameters.adapters),
            settings={name: value for name, value in given.items() if value is not None},
            defaults=parameters.config.model_dump(exclude_none=True),
            system=parameters.system,
            messages=tuple(message.model_dump() for message in parameters.messages),
            licenses=tuple(parameters.licenses),
        )
    )
    return Made(model_id=model.name)


async def _copy(host: Host, parameters: CopyParameters, _on_progress: OnProgress) -> Made:
    model = host.find(parameters.source)
    if model.adapter_in(parameters.source) is not None:
        raise InvalidRequest(
            f'"{parameters.source}" is {model.name} with an adapter, which each request chooses for itself; name '
            f'"{model.name}".',
            param="source",
        )
    return Made(model_id=(await host.created.copy(model, parameters.model_id)).name)


async def _delete(host: Host, parameters: DeleteParameters, _on_progress: OnProgress) -> Made:
    await host.created.delete(parameters.model_id)
    return Made(model_id=parameters.model_id)


REFUSALS: Final = (ModelNotAllowed, ModelNotFound, ModelFileMissing, ModelFileInvalid, DiskFull)
CREATE: Final = Operation(
    name="create-model",
    summary="Make a model of another one or of uploaded files, with a system prompt, request defaults or adapters",
    work=_create,
    route=None,
    errors=REFUSALS,
    audited=("model_id", "source", "files", "adapters", "context_length", "gpu_layers", "threads", "config"),
    example={"model_id": "pirate", "source": "qwen", "system": "You are a pirate.", "config": {"temperature": 0.2}},
    answer={"model_id": "pirate"},
)
COPY: Final = Operation(
    name="copy-model",
    summary="Give a model a further name",
    work=_copy,
    route=None,
    errors=REFUSALS,
    audited=("source", "model_id"),
    example={"source": "qwen", "model_id": "gpt-4"},
    answer={"model_id": "gpt-4"},
)
DELETE: Final = Operation(
    name="delete-model",
    summary="Delete a model that was created, copied or pulled",
    work=_delete,
    route=None,
    errors=(ModelNotAllowed, ModelNotFound),
    audited=("model_id",),
    example={"model_id": "pirate"},
    answer={"model_id": "pirate"},
)
