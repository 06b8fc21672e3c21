"""An MCP server's wish to have a model write, as a chat request, and the answer as it gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from modelhost import json_text
from modelhost.exchange.whole_answer import WholeAnswer, WrittenCall
from modelhost.tools.sampling import SampledCall, SamplingAnswer, SamplingRequest


class Named(Protocol):
    """A model, as far as it matters here."""

    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> Sequence[str]: ...


def sampling_request(request: SamplingRequest, models: Sequence[Named]) -> dict[str, Any]:
    """Return the request, for the first of ``models`` that a hint is part of a name of, in the order of the hints.

    How much the server cares for cost, speed and intelligence does not count: no model is loaded, and perhaps another
    unloaded, because of a number that a server made up.
    """
    body: dict[str, Any] = {
        "messages": [dict(message) for message in request.messages],
        "max_tokens": request.max_tokens,
        # Without tools of the host's own: what a server asks for must not have it call servers again.
        "tools": [dict(tool) for tool in request.tools],
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tools and request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    hinted = [model.name for hint in request.hints for model in models if _is_meant(model, hint)]
    return {**body, "model": hinted[0]} if hinted else body


def _is_meant(model: Named, hint: str) -> bool:
    return any(hint.lower() in name.lower() for name in (model.name, *model.aliases))


def sampling_answer(answer: WholeAnswer) -> SamplingAnswer:
    """Return a whole answer as the answer to a server."""
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
        arguments = json_text.decoded(call.arguments or "{}")
    except ValueError:
        arguments = {}
    return SampledCall(id=call.id or "", name=call.name, arguments=arguments if isinstance(arguments, dict) else {})
