"""From the body of a request to a response that can be made: what it goes on with, and what it asks of the model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelhost.exchange.requests import ChatRequest
from modelhost.http.responses import bodies
from modelhost.http.responses.conversation import Unseal
from modelhost.http.responses.items import Item, input_items, new_id
from modelhost.http.responses.parse import ENCRYPTED, ParsedResponse, chat_request, check, conversation_of
from modelhost.http.responses.running import NO_HISTORY, History, Responses, Run
from modelhost.http.responses.writing import Delivery

HIDDEN_TOOLS: Final = "modelhost.hidden_tools"
"""In the metadata of a response: the types of the tools that the model did not get, since the host cannot run them."""
SECRET: Final = frozenset({"authorization", "headers"})
"""Fields of tools that are not shown again."""
DEFAULTS_OF_TOOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    "function": {"description": None, "parameters": None, "strict": None},
    "custom": {"description": None, "format": {"type": "text"}},
    "mcp": {"allowed_tools": None, "require_approval": None},
}
"""What tools are shown with, whether or not the request says it."""


def new_response(
    body: bodies.CreateResponse,
    parsed: ParsedResponse,
    *,
    response_id: str,
    created_at: int,
    model: str,
) -> Item:
    """Return the response to ``body`` by ``model`` as it begins, at a Unix time: in progress, without output.

    Where neither the request nor the model's request defaults say it, a temperature is 1, as clients expect a number
    there; the engine's own default is not known.
    """
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "background": bool(body.background),
        "completed_at": None,
        "conversation": None if body.conversation_id is None else {"id": body.conversation_id},
        "error": None,
        "frequency_penalty": body.frequency_penalty or 0.0,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": _metadata(body, parsed),
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "presence_penalty": body.presence_penalty or 0.0,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "prompt_cache_retention": body.prompt_cache_retention,
        "reasoning": _reasoning(body),
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": body.store is not False,
        "temperature": _number(body.temperature, parsed.defaults.get("temperature")),
        "text": _text(body),
        "tool_choice": "auto" if body.tool_choice is None else _json(body.tool_choice),
        "tools": [_tool(tool) for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": _number(body.top_p, parsed.defaults.get("top_p")),
        "truncation": body.truncation or "disabled",
        "usage": None,
        "user": body.user,
    }


def _number(given: float | None, default: float | None) -> float:
    if given is not None:
        return given
    return 1.0 if default is None else default


def _metadata(body: bodies.CreateResponse, parsed: ParsedResponse) -> dict[str, str]:
    """Return the metadata of the request, and which tools are hidden, as far as the limits of metadata permit it."""
    given = dict(body.metadata or {})
    if not parsed.hidden_tools or (len(given) >= bodies.MAX_METADATA and HIDDEN_TOOLS not in given):
        return given
    names = list(parsed.hidden_tools)
    while len(text := ",".join(names)) > bodies.LONGEST_VALUE:
        names.pop()
    return {**given, HIDDEN_TOOLS: text}


def _reasoning(body: bodies.CreateResponse) -> Item:
    given = body.reasoning
    if given is None:
        return {"effort": None, "summary": None}
    return {"effort": given.effort, "summary": given.summary or given.generate_summary}


def _text(body: bodies.CreateResponse) -> Item:
    given = body.text
    if given is None:
        return {"format": {"type": "text"}, "verbosity": "medium"}
    shape = {"type": "text"} if given.format is None else _json(given.format)
    return {"format": shape, "verbosity": given.verbosity or "medium"}


def _tool(tool: bodies.AnyTool) -> Item:
    known = _json(tool)
    shown = {name: value for name, value in known.items() if name not in SECRET}
    return {"type": tool.type, **DEFAULTS_OF_TOOLS.get(tool.type, {}), **shown}


def _json(value: Any) -> Any:
    return value if isinstance(value, str) else value.model_dump(by_alias=True, exclude_unset=True)


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
