"""Filling in text before other text: which task of an engine does it, and the answer in the words of completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from modelhost.engines.base import Engine
from modelhost.errors import InvalidRequest, UnsupportedParameter
from modelhost.exchange.events import Envelope, Piece
from modelhost.exchange.requests import CompletionRequest, Infill
from modelhost.exchange.tasks import Task

SUFFIX: Final = "suffix"


def infilling(engine: Engine, request: CompletionRequest, infill: Infill) -> Task:
    """Return the task of ``engine`` that ``request`` is one of.

    Raises:
        InvalidRequest, UnsupportedParameter: saying what is wrong with the request, or what helps.
    """
    if engine.fields("infill"):
        if not all(isinstance(prompt, str) for prompt in request.prompts):
            raise InvalidRequest("prompt: with suffix it has to be text.", param="prompt")
        return "infill"
    if SUFFIX in engine.fields("completions") and not infill.begun and not infill.files:
        return "completions"
    raise UnsupportedParameter(
        f"{SUFFIX}: {engine.name} cannot fill in text before other text. llamacpp can, with a model that was trained "
        "for it (FIM).",
        param=SUFFIX,
    )


def named(model: str) -> Callable[[Piece], Piece]:
    """Return what gives all pieces of an answer of ``model`` one envelope: llama.cpp tells none when it fills in."""
    envelope = Envelope(
        id=f"cmpl-{secrets.token_hex(16)}", created=int(time.time()), model=model, kind="text_completion"
    )
    return lambda piece: tuple(replace(event, envelope=envelope) for event in piece)
