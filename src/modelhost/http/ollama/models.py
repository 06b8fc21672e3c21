"""Ollama's API about models: what there is, as Ollama lists it, the files of new ones, and the routes of all of it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from modelhost.errors import ModelFileInvalid, ModelFileMissing, NotFound
from modelhost.http.endpoint import Endpoint, operator_of
from modelhost.http.exchange import Exchange
from modelhost.http.ollama import paths
from modelhost.http.ollama.answering_endpoint import FORMAT
from modelhost.http.ollama.description import Json, ModelFacts, facts_of, listed, loaded, shown
from modelhost.http.ollama.making import CopyEndpoint, CreateEndpoint, DeleteEndpoint, PullEndpoint, PushEndpoint
from modelhost.http.ollama.model_bodies import ShowRequest
from modelhost.http.ollama.names import hosted
from modelhost.http.validation import checked
from modelhost.models.files.blobs import BYTES_PER_GB, Upload
from modelhost.models.registry.created import CreatedModel
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.status import ModelStatus, State
from modelhost.operations.perform import OperationCall, performing
from modelhost.version import __version__

if TYPE_CHECKING:
    from modelhost.host import Host

COMPATIBLE_VERSION: Final = "0.13.0"
"""The version of Ollama whose API this one is compared with by clients; some refuse those before 0.6.4."""
LOADED: Final = frozenset({State.READY, State.BUSY})


class ModelEndpoint(Endpoint):
    """What the endpoints about models share."""

    def __init__(self, host: Host, operation: str) -> None:
        super().__init__(host, operation, FORMAT)


class VersionEndpoint(ModelEndpoint):
    """Answers with a version of Ollama, as clients compare it, and with that of this host."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        await exchange.answer_json({"version": COMPATIBLE_VERSION, "modelhost_version": __version__})


class TagsEndpoint(ModelEndpoint):
    """Answers with all models, the active one first."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        await self.host.refresh_previews()
        models = _models(self.host)
        entries = await asyncio.to_thread(lambda: [entry for each in models for entry in _listed(*each)])
        await exchange.answer_json({"models": entries})


class PsEndpoint(ModelEndpoint):
    """Answers with the loaded models."""

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        models = [each for each in _models(self.host) if each[1].state in LOADED]
        entries = await asyncio.to_thread(
            lambda: [loaded(model, status, _facts(model), record) for model, status, record in models]
        )
        await exchange.answer_json({"models": entries})


class ShowEndpoint(ModelEndpoint):
    """Answers with one model in detail."""

    async def respond(self, exchange: Exchange, scope: Scope, body: Any) -> None:
        given = checked(ShowRequest, body)
        model = await hosted(self.host, given.named)
        exchange.model = model.name
        await self.host.refresh_previews()
        (status, record) = next((status, record) for each, status, record in _models(self.host) if each is model)
        answer = await asyncio.to_thread(
            lambda: shown(model, status, _facts(model), record, verbose=bool(given.verbose))
        )
        await exchange.answer_json(answer)


def _models(host: Host) -> list[tuple[HostedModel, ModelStatus, CreatedModel | None]]:
    """Return all models, the active one first, each with its status and its record, if a client has made it."""
    models, records = {model.name: model for model in host.models}, host.created.records
    statuses = {status.name: status for status in host.status().models}
    return [(model, statuses[name], records.get(name)) for name, model in models.items()]


def _facts(model: HostedModel) -> ModelFacts:
    """Return what the files of ``model`` say; of one whose files cannot be read, what the host knows. Blocks."""
    try:
        return facts_of(model)
    except (ModelFileInvalid, ModelFileMissing):  # the reason is in the status of the model
        return ModelFacts(architecture=model.engine.name, values={})


def _listed(model: HostedModel, status: ModelStatus, record: CreatedModel | None) -> list[Json]:
    facts = _facts(model)
    return [listed(model, status, facts, record, adapter) for adapter in (None, *model.adapter_names)]


OPERATION: Final = "upload-blob"
"""In the audit log."""
CHUNK_BYTES: Final = 1 << 22
"""As much as is written at once, in a thread."""


class BlobEndpoint(Endpoint):
    """Says whether a file is here, or stores it as it arrives."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "ollama_blobs", FORMAT)

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        digest: str = scope["path_params"]["digest"]
        if scope["method"] != "POST":  # HEAD, which arrives as GET
            if not await asyncio.to_thread(self.host.created.store.blobs.has, digest):
                raise NotFound(f"There is no file {digest} here: upload it with POST.")
            await exchange.answer(200, b"", [(b"content-length", b"0")])
            return
        call = OperationCall(operation=OPERATION, caller=operator_of(scope), kept=dict, values={"digest": digest})
        with performing(self.host, call):
            await self._store(digest, exchange)
        await exchange.answer(201, b"", [(b"content-length", b"0")])

    async def _store(self, digest: str, exchange: Exchange) -> None:
        created = self.host.created
        created.check_changes(digest)
        await asyncio.to_thread(created.prune)
        limit_bytes = int(self.host.settings.max_blob_gb * BYTES_PER_GB)
        upload = created.store.blobs.upload(digest, limit_bytes=limit_bytes, expected_bytes=exchange.declared_length)
        with ExitStack() as opened:
            await asyncio.to_thread(opened.enter_context, upload)
            await _write(exchange, upload)
            await asyncio.to_thread(upload.publish)


async def _write(exchange: Exchange, upload: Upload) -> None:
    """Write the body of a request as it arrives."""
    parts: list[bytes] = []
    async with aclosing(exchange.body_parts()) as body:
        async for part in body:
            parts.append(part)
            if sum(map(len, parts)) >= CHUNK_BYTES:
                await asyncio.to_thread(upload.write, b"".join(parts))
                parts.clear()
    await asyncio.to_thread(upload.write, b"".join(parts))


def ollama_model_routes(host: Host) -> list[BaseRoute]:
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
