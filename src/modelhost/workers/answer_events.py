"""The events of a worker's streamed answer, decoded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import orjson

from modelhost.errors import EngineError
from modelhost.workers.wire import DATA, DONE, END_OF_EVENT, EventBlocks


async def decoded_events(blocks: EventBlocks, *, model: str, worker: str) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield the JSON object of each event in ``blocks``, without the end marker.

    ``model`` and ``worker`` are named in errors.

    Raises:
        EngineError: an event is no JSON object.
    """
    while block := await blocks.read():
        for event in block.split(END_OF_EVENT):
            if event.startswith(DATA) and event != DATA + DONE:
                data = event.removeprefix(DATA)
                value = decoded(data, model=model, worker=worker)
                if not isinstance(value, dict):
                    raise _malformed(data, "no JSON object", model, worker)
                yield value


def decoded(data: bytes, *, model: str, worker: str) -> Any:
    """Return the JSON value in ``data``, an answer of ``worker``; raises EngineError if it is none."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _malformed(data, "not JSON", model, worker) from None


def _malformed(data: bytes, problem: str, model: str, worker: str) -> EngineError:
    return EngineError(f"The engine of {model} answered what is {problem}: {data[:200]!r}", model=model, worker=worker)
