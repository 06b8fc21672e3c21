"""The beginning that a model's conversations have, put before the messages of a request."""

from __future__ import annotations

from itertools import takewhile

from msgspec.structs import replace

from modelhost.exchange.messages import SYSTEM_ROLES, Message
from modelhost.exchange.requests import ChatRequest
from modelhost.models.registry.entry import NO_PRESET, Preset


def with_preset(request: ChatRequest, preset: Preset) -> ChatRequest:
    """Return ``request`` with the beginning of ``preset``; system messages of the request replace that of the preset.

    What the request has of a session, or stores in one, does not contain it.
    """
    if preset == NO_PRESET:
        return request
    given = tuple(takewhile(lambda message: message.role in SYSTEM_ROLES, request.messages))
    system = given or (() if preset.system is None else (Message(role="system", content=preset.system),))
    return replace(request, messages=(*system, *preset.messages, *request.messages[len(given) :]))
