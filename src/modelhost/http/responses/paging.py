"""The query of a list of items, as OpenAI pages them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.datastructures import QueryParams

from modelhost.errors import InvalidRequest

DEFAULT_LIMIT: Final = 20
MOST: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which part of a list is wanted, in which order."""

    limit: int = DEFAULT_LIMIT
    is_ascending: bool = False
    after: str | None = None


def page_query(query: QueryParams) -> PageQuery:
    """Return the page that ``query`` asks for; raises InvalidRequest."""
    limit, order = query.get("limit", str(DEFAULT_LIMIT)), query.get("order", "desc")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 4 and 1 <= int(limit) <= MOST):
        raise InvalidRequest(f"limit: a number from 1 to {MOST} is needed.", param="limit")
    if order not in {"asc", "desc"}:
        raise InvalidRequest('order: "asc" or "desc" is needed.', param="order")
    return PageQuery(limit=int(limit), is_ascending=order == "asc", after=query.get("after") or None)
