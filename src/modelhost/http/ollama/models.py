"""``GET /api/version``, ``/api/tags`` and ``/api/ps``, and ``POST /api/show``: what there is, as Ollama lists it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Scope

from modelhost.errors import ModelFileInvalid, ModelFileMissing
from modelhost.http.endpoint import Endpoint
from modelhost.http.exchange import Exchange
from modelhost.http.ollama.answering_endpoint import FORMAT
from modelhost.http.ollama.description import Json, ModelFacts, facts_of, listed, loaded, shown
from modelhost.http.ollama.model_bodies import ShowRequest
from modelhost.http.ollama.names import hosted
from modelhost.http.validation import checked
from modelhost.models.registry.created import CreatedModel
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.status import ModelStatus, State
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
