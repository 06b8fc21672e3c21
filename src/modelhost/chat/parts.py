"""How many things one request may ask for at once: answers, vectors, scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelhost.errors import InvalidRequest
from modelhost.exchange.tasks import Task

MAX_PARTS: Final = 2048  # as many texts as OpenAI's API takes at once
FIELDS: Final[Mapping[Task, str]] = {"completions": "prompt", "embeddings": "input", "rerank": "documents"}
"""Where the list of them stands."""


def check_parts(task: Task, body: Mapping[str, Any]) -> None:
    """Check that ``body``, whose types are checked, asks for no more; raises InvalidRequest."""
    name = FIELDS.get(task)
    given = None if name is None else body[name]
    if not isinstance(given, list) or isinstance(given[0], int):  # one text, or the tokens of one
        return
    times = (body.get("n") or 1) if task == "completions" else 1
    if len(given) * times > MAX_PARTS:
        product = f", each with an n of {times}, make {len(given) * times}" if times > 1 else ""
        raise InvalidRequest(
            f"{name}: {len(given)} entries{product}; a request may ask for {MAX_PARTS} at most. Split it into several "
            "requests.",
            param=name,
        )
