"""From the body of a request to a response that can be made: what it goes on with, and what it asks of the model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from modelhost.exchange.requests import ChatRequest
from modelhost.http.responses import bodies
from modelhost.http.responses.conversation import Unseal
from modelhost.http.responses.items import Item, input_items, new_id
from modelhost.http.responses.parse import ENCRYPTED, chat_request, check, conversation_of
from modelhost.http.responses.running import NO_HISTORY, History, Responses, Run
from modelhost.http.responses.skeleton import new_response
from modelhost.http.responses.writing import Delivery

SEALED: Final = "encrypted_content"


async def prepared(
    responses: Responses,
    given: bodies.CreateResponse,
    delivery: Delivery,
    *,
    history: Sequence[Item] | None = None,
) -> Run:
    """Return the response to ``given``, ready to be made.

    With ``history``, that is what it goes on with, whatever the request names as its predecessor.

    Raises:
        ModelhostError: something in the request cannot be used, or is not there.
    """
    host = responses.host
    model = host.find(given.model)
    check(given)
    before, own_input = await _items(responses, given, delivery, history)
    items = [*before.items, *own_input]
    unseal: Unseal = _as_it_is
    if ENCRYPTED in (given.include or ()) or any(SEALED in item for item in items):
        seal = await responses.seal()
        unseal, delivery = seal.open, delivery.sealing(seal.seal)
    parsed = chat_request(given, items, host, unseal, given_from=len(before.items))
    response = new_response(
        given,
        parsed,
        response_id=new_id("resp"),
        created_at=int(time.time()),
        model=given.model or model.name,
    )
    return Run(
        parsed=parsed,
        response=response,
        own_input=own_input if history is None else items,
        delivery=delivery,
        previous_id=given.previous_response_id if history is None else None,
        conversation=before.conversation,
    )


async def conversation(responses: Responses, given: bodies.CountInputTokens, delivery: Delivery) -> ChatRequest:
    """Return what of a request becomes the prompt; errors as in :func:`prepared`."""
    before, own_input = await _items(responses, given, delivery, None)
    items = [*before.items, *own_input]
    unseal = (await responses.seal()).open if any(SEALED in item for item in items) else _as_it_is
    return conversation_of(given, items, responses.host, unseal, given_from=len(before.items))


async def _items(
    responses: Responses,
    given: bodies.CreateResponse | bodies.CountInputTokens,
    delivery: Delivery,
    history: Sequence[Item] | None,
) -> tuple[History, list[Item]]:
    """Return what a request goes on with, and its own items."""
    caller, before = delivery.caller, NO_HISTORY
    if history is not None:
        before = History(items=tuple(history))
    elif given.previous_response_id is not None or given.conversation is not None:
        before = await responses.history(given.previous_response_id, given.conversation_id, caller)
    find = await responses.find_items(given.given_input, caller)
    return before, input_items(given.given_input, find)


def _as_it_is(text: str, _purpose: str) -> str:
    """Open what is not sealed."""
    return text
