"""``GET /v1/models`` for clients of Anthropic's API, which send the header ``anthropic-version``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from modelhost.errors import InvalidRequest
from modelhost.http.anthropic.endpoint import FORMAT, add_request_id
from modelhost.http.anthropic.paths import VERSION
from modelhost.http.exchange import Exchange
from modelhost.operations.cards import ModelCard
from modelhost.operations.models import LIST
from modelhost.operations.operation import NoParameters

if TYPE_CHECKING:
    from modelhost.host import Host

PATH: Final = "/v1/models"
DEFAULT_LIMIT, MAX_LIMIT = 20, 1000
LIMIT_DIGITS: Final = 9  # Python refuses to convert very long numbers


class AnthropicModels:
    """Answers the list of models, or one model."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, form=FORMAT)
        add_request_id(exchange, scope)
        await exchange.settle(self._respond(exchange, scope))

    async def _respond(self, exchange: Exchange, scope: Scope) -> None:
        cards = (await LIST.run(self._host, NoParameters())).models
        name = scope["path_params"].get("model_id")
        if not name:
            await exchange.answer_json(_page(list(map(described, cards)), scope["query_string"]))
            return
        model = self._host.find(name)
        card = next(card for card in cards if card.id == model.name)
        await exchange.answer_json(described(card))


def described(card: ModelCard) -> dict[str, Any]:
    return {
        "type": "model",
        "id": card.id,
        "display_name": card.id,
        "created_at": datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": card.context_length,
        "max_tokens": card.context_length,
    }


def _page(models: Sequence[Mapping[str, Any]], query: bytes) -> dict[str, Any]:
    """Return the part of ``models`` that ``limit``, ``after_id`` and ``before_id`` of the query select."""
    given = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}
    limit = _limit(given.get("limit", str(DEFAULT_LIMIT)))
    ids = [model["id"] for model in models]
    if (after := given.get("after_id")) is not None:
        begin = _place(ids, after, "after_id") + 1
        shown, has_more = models[begin : begin + limit], begin + limit < len(models)
    elif (before := given.get("before_id")) is not None:
        end = _place(ids, before, "before_id")
        shown, has_more = models[max(0, end - limit) : end], end > limit
    else:
        shown, has_more = models[:limit], limit < len(models)
    return {
        "data": list(shown),
        "has_more": has_more,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


def _limit(given: str) -> int:
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:LIMIT_DIGITS]) <= MAX_LIMIT):
        raise InvalidRequest(f"limit: it is a number from 1 to {MAX_LIMIT}.", param="limit")
    return int(given)


def _place(ids: Sequence[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(f"{param}: there is no model {wanted}.", param=param)
    return ids.index(wanted)


class VersionedRoute(Route):
    """A route for requests with the header of Anthropic's clients only."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if any(name == VERSION for name, _ in scope.get("headers", ())):
            return super().matches(scope)
        return Match.NONE, {}


def anthropic_model_routes(host: Host) -> list[Route]:
    """Return the routes, to precede those of OpenAI's list."""
    models = AnthropicModels(host)
    return [VersionedRoute(path, models, methods=["GET"]) for path in (PATH, PATH + "/{model_id:path}")]
