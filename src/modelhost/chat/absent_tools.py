"""What a client is told of MCP servers that are not there: that it waits for them, and whose tools it did not get."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import uuid4

from modelhost.chat.notes import Notes
from modelhost.chat.relay import encode_event, payloads_of
from modelhost.chat.tool_events import TOOLS, WAITING

if TYPE_CHECKING:  # the MCP SDK behind them takes half a second, and not every host has tools
    from modelhost.tools.patience import Starting
    from modelhost.tools.status import MissingServer

MISSING: Final = "tools-missing"
"""The note, followed by ``=`` and the server's name as in an address: any text can be a name, and not all a header."""


def waiting_event(model: str, starting: Starting) -> bytes:
    """Return the first event of an answer that waits for servers; the id of the answer itself is not known yet."""
    envelope = {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }
    return _event(envelope, {WAITING: {"servers": list(starting.servers), "seconds": round(starting.seconds, 1)}})


def note_missing(model: str, missing: Sequence[MissingServer]) -> None:
    """Have the header of the answer, and the log, say which servers are missing."""
    if missing:
        notes = Notes(model)
        for each in missing:
            notes.tell(f"{MISSING}={quote(each.server)}")


def missing_fields(missing: Sequence[MissingServer]) -> dict[str, Any]:
    """Return what an answer, or a chunk of it, holds about the servers that are missing: nothing if none is."""
    if not missing:
        return {}
    return {TOOLS: {"missing": [{"server": each.server, "state": each.state} for each in missing]}}


def with_missing(
    blocks: AsyncIterator[bytes], missing: Sequence[MissingServer]
) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """Return ``blocks`` with an event about the missing servers, if any, before the first chunk.

    It comes together with that: what is wrong with a request is still an ordinary error.
    """
    return aclosing(_told(blocks, missing)) if missing else nullcontext(blocks)


async def _told(blocks: AsyncIterator[bytes], missing: Sequence[MissingServer]) -> AsyncGenerator[bytes, None]:
    is_told = False
    async for block in blocks:
        if not is_told and (chunks := payloads_of(block)):
            is_told = True
            yield _event(chunks[0], missing_fields(missing)) + block
        else:
            yield block


def _event(chunk: Mapping[str, Any], fields: Mapping[str, Any]) -> bytes:
    """Return an event in the envelope of ``chunk``, with an empty delta as all that ordinary clients pass over."""
    envelope = {name: chunk[name] for name in ("id", "object", "created", "model") if name in chunk}
    return encode_event({**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": None}], **fields})
