"""Probes, version and metrics."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from modelhost.host import Host
from modelhost.meters import REGISTRY
from modelhost.version import __version__


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether a model can answer, and the state of each."""

    status: Literal["ready", "not_ready"]
    models: dict[str, str]


class Version(BaseModel):
    """What answers here."""

    name: Literal["modelhost"] = "modelhost"
    version: str = __version__


def system_router(host: Host) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["system"])

    @router.get("/health", summary="Does the process live?")
    async def health() -> Health:
        return Health()

    @router.get("/ready", summary="Can a model answer?", responses={503: {"model": Readiness}})
    async def ready(response: Response) -> Readiness:
        response.status_code = 200 if host.is_ready else 503
        states = {model.name: model.state.value for model in host.status().models}
        return Readiness(status="ready" if host.is_ready else "not_ready", models=states)

    @router.get("/version", summary="What answers here?")
    async def version() -> Version:
        return Version()

    @router.get("/metrics", summary="Metrics in Prometheus' text format", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router
