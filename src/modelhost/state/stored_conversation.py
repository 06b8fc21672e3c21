"""Conversations of OpenAI's Responses API as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelhost.state.stored_response import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConversation:
    """A conversation without its items; the next item gets ``next_position``, and positions are not reused."""

    id: str
    created_at: datetime
    used_at: datetime
    metadata: Mapping[str, Any]
    next_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPage:
    """Some items of a list, and whether there are more behind them."""

    items: tuple[Item, ...]
    has_more: bool
