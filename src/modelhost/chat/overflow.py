"""Conversations that cannot fit into the context of a model, recognised without their prompts.

llama.cpp tokenizes a prompt in time that grows with the square of the number of its messages: for each special token of
the vocabulary, it searches what follows each message to the end of the prompt. So a conversation of so many messages
that it certainly does not fit is refused before a worker gets it.
"""

from __future__ import annotations

from typing import Final

from modelhost.errors import ContextLengthExceeded
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.models.residency.hosted import HostedModel

LEAST_TOKENS: Final = 2
"""Tokens of a message with contents: in every format of conversations at least one of its text and one that begins or
ends it."""


def check_number_of_messages(model: HostedModel, request: ChatRequest) -> None:
    """Check that the context of ``model``, if it is known, may hold as many messages as ``request`` has.

    Raises:
        ContextLengthExceeded: it certainly cannot.
    """
    limit = model.context_length
    if limit is None or len(request.messages) * LEAST_TOKENS < limit:
        return
    least = sum(map(_has_contents, request.messages)) * LEAST_TOKENS
    if least >= limit:
        raise ContextLengthExceeded.of(model.name, tokens=least, limit=limit, counted=f"at least {least}")


def _has_contents(message: Message) -> bool:
    return bool(message.tool_calls or message.media or message.text.strip())
