"""Sampling for MCP servers: their requests as chat requests, and the answers in their form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from modelhost import json_text
from modelhost.exchange.whole_answer import WholeAnswer, WrittenCall
from modelhost.models.residency.hosted import HostedModel
from modelhost.tools.callbacks import SampledCall, SamplingAnswer, SamplingRequest


def sampling_request(request: SamplingRequest, models: Sequence[HostedModel]) -> dict[str, Any]:
    """Return the body of a chat request, for the first of ``models`` with a name that contains a hint, in their order.

    The server's priorities for cost, speed and intelligence are ignored: they must not cause models to be loaded and
    others to be evicted.
    """
    body: dict[str, Any] = {
        "messages": [dict(message) for message in request.messages],
        "max_tokens": request.max_tokens,
        # Without host tools: sampling must not lead to further calls of servers.
        "tools": [dict(tool) for tool in request.tools],
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tools and request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    hinted = [model.name for hint in request.hints for model in models if _matches(model, hint)]
    return {**body, "model": hinted[0]} if hinted else body


def _matches(model: HostedModel, hint: str) -> bool:
    return any(hint.lower() in name.lower() for name in (model.name, *model.aliases))


def sampling_answer(answer: WholeAnswer) -> SamplingAnswer:
    """Return ``answer`` in the form that the server gets."""
    choice = answer.choice()
    return SamplingAnswer(
        text=choice.text or "",
        model=answer.envelope.model or "",
        finish_reason=_reason(choice.finish_reason),
        tool_calls=tuple(map(_call, choice.calls)),
    )


def _reason(reason: str | None) -> Literal["stop", "length", "tool_calls"]:
    if reason == "length":
        return "length"
    return "tool_calls" if reason == "tool_calls" else "stop"


def _call(call: WrittenCall) -> SampledCall:
    try:
        arguments = json_text.decode(call.arguments or "{}")
    except ValueError:
        arguments = {}
    return SampledCall(id=call.id or "", name=call.name, arguments=arguments if isinstance(arguments, dict) else {})
