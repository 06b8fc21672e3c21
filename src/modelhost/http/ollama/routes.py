"""The routes of Ollama's API that are about models; those that models answer bypass routing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route

from modelhost.http.ollama import paths
from modelhost.http.ollama.blobs import BlobEndpoint
from modelhost.http.ollama.making import CopyEndpoint, CreateEndpoint, DeleteEndpoint, PullEndpoint, PushEndpoint
from modelhost.http.ollama.models import PsEndpoint, ShowEndpoint, TagsEndpoint, VersionEndpoint

if TYPE_CHECKING:
    from modelhost.host import Host


def ollama_model_routes(host: Host) -> list[BaseRoute]:
    """Return the routes."""
    return [
        Route(paths.VERSION, VersionEndpoint(host, "ollama_version"), methods=["GET"]),
        Route(paths.TAGS, TagsEndpoint(host, "ollama_tags"), methods=["GET"]),
        Route(paths.PS, PsEndpoint(host, "ollama_ps"), methods=["GET"]),
        Route(paths.SHOW, ShowEndpoint(host, "ollama_show"), methods=["POST"]),
        Route(paths.PULL, PullEndpoint(host, "ollama_pull"), methods=["POST"]),
        Route(paths.CREATE, CreateEndpoint(host, "ollama_create"), methods=["POST"]),
        Route(paths.COPY, CopyEndpoint(host, "ollama_copy"), methods=["POST"]),
        Route(paths.DELETE, DeleteEndpoint(host, "ollama_delete"), methods=["DELETE"]),
        Route(paths.PUSH, PushEndpoint(host, "ollama_push"), methods=["POST"]),
        Route(paths.BLOBS + "{digest}", BlobEndpoint(host), methods=["GET", "POST"]),
    ]
