"""``/v1/models`` in OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modelhost.operations.cards import ModelCard
from modelhost.operations.models import LIST
from modelhost.operations.operation import NoParameters

if TYPE_CHECKING:
    from modelhost.host import Host


class ModelList(BaseModel):
    """All models, loaded or not, the active one first."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
    models: list[str] = Field(
        default=[],
        max_length=0,
        description="Always empty: Codex requires the field, and takes its own prompt for models that are not in it.",
    )


def models_router(host: Host) -> APIRouter:
    """Return the routes; the last one takes every path below ``/v1/models/`` that is left."""
    router = APIRouter(tags=["models"])

    async def cards() -> list[ModelCard]:
        return (await LIST.run(host, NoParameters())).models

    @router.get("/v1/models/", include_in_schema=False)  # as some clients write it
    @router.get("/v1/models", summary=LIST.summary)
    async def list_models() -> ModelList:
        return ModelList(data=await cards())

    @router.get("/v1/models/{model_id:path}", summary="Get one model")
    async def get_model(model_id: str) -> ModelCard:
        name = host.find(model_id).name
        listed = await cards()
        # A model with an adapter has a card of its own.
        found = next((card for card in listed if model_id in (card.id, *card.aliases)), None)
        return found or next(card for card in listed if card.id == name)

    return router
