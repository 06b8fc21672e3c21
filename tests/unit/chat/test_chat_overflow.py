"""Conversations that are refused for the number of their messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from modelhost.chat.overflow import check_number_of_messages
from modelhost.errors import ContextLengthExceeded
from modelhost.exchange.messages import Message
from modelhost.exchange.requests import ChatRequest
from modelhost.models.residency.hosted import HostedModel


def check(limit: int | None, *texts: str) -> None:
    model = cast("HostedModel", SimpleNamespace(name="m", context_length=limit))
    check_number_of_messages(model, ChatRequest(messages=tuple(Message(role="user", content=text) for text in texts)))


def test_more_messages_than_the_context_can_hold_are_refused_with_both_counts() -> None:
    with pytest.raises(ContextLengthExceeded, match="at least 12") as refused:
        check(12, *["hi"] * 6)
    assert refused.value.details == {"prompt_tokens": 12, "context_length": 12}


def test_messages_that_may_fit_are_left_to_the_engine() -> None:
    check(13, *["hi"] * 6)
    check(None, *["hi"] * 6)


def test_messages_without_contents_are_not_counted() -> None:
    check(12, *["hi"] * 5, *[" \n"] * 20)
