"""``/v1/models``: what this host serves."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modelhost.host import Host
from modelhost.models.supervisor import Supervisor


class ModelCard(BaseModel):
    """One model, as OpenAI lists it, with what the host knows besides."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="When it was loaded, in seconds since 1970.")
    owned_by: str = "modelhost"
    aliases: list[str] = Field(description="Further names under which it answers.")
    engine: str
    state: str = Field(description="loading, ready, restarting, failed or stopped.")
    context_length: int | None = Field(description="Tokens that one conversation may hold.")
    max_model_len: int | None = Field(description="The same, under vLLM's name for it.")
    slots: int | None = Field(description="Conversations that it works on at once.")
    operations: list[str] = Field(
        description="What it can do: chat, completions, embeddings, rerank, tokenize, detokenize."
    )


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def models_router(host: Host) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["models"])

    @router.get("/v1/models", summary="List the models")
    async def list_models() -> ModelList:
        return ModelList(data=[_card(model) for model in host.models])

    @router.get("/v1/models/{model_id:path}", summary="Look at one model")
    async def get_model(model_id: str) -> ModelCard:
        return _card(host.find(model_id))

    return router


def _card(model: Supervisor) -> ModelCard:
    ready = model.worker.ready if model.worker else None
    context_length = ready.context_length if ready else model.spec.context_length
    return ModelCard(
        id=model.name,
        created=int(model.loaded_at),
        aliases=list(model.spec.aliases),
        engine=model.engine.name,
        state=model.state.value,
        context_length=context_length,
        max_model_len=context_length,
        slots=ready.slots if ready else model.spec.slots,
        operations=sorted(ready.operations) if ready else [],
    )
