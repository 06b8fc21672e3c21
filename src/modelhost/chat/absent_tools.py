"""What a client is told of MCP servers that are not there: that it waits for them, and whose tools it did not get."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from uuid import uuid4

from modelhost.chat.notes import Notes
from modelhost.exchange.events import Envelope, Piece, PieceStream, ToolsMissing, WaitingForTools

if TYPE_CHECKING:  # the MCP SDK behind them takes half a second, and not every host has tools
    from modelhost.tools.patience import Starting
    from modelhost.tools.status import MissingServer

MISSING: Final = "tools-missing"
"""The note, followed by ``=`` and the server's name as in an address: any text can be a name, and not all a header."""


def waiting(model: str, starting: Starting) -> Piece:
    """Return the first piece of an answer that waits for servers; the id of the answer itself is not known yet."""
    envelope = Envelope(id=f"chatcmpl-{uuid4().hex}", created=int(time.time()), model=model)
    return (WaitingForTools(envelope=envelope, servers=tuple(starting.servers), seconds=round(starting.seconds, 1)),)


def note_missing(model: str, missing: Sequence[MissingServer]) -> None:
    """Have the header of the answer, and the log, say which servers are missing."""
    if missing:
        notes = Notes(model)
        for each in missing:
            notes.tell(f"{MISSING}={quote(each.server)}")


def with_missing(pieces: PieceStream, missing: Sequence[MissingServer]) -> PieceStream:
    """Return ``pieces``, with one about the missing servers before the first if there are any.

    It comes together with that: what is wrong with a request is still an ordinary error.
    """
    return _told(pieces, missing) if missing else pieces


async def _told(pieces: PieceStream, missing: Sequence[MissingServer]) -> PieceStream:
    is_told = False
    async with aclosing(pieces):
        async for piece in pieces:
            if not is_told:
                is_told = True
                envelope = piece[0].envelope
                shown = Envelope(id=envelope.id, created=envelope.created, model=envelope.model, kind=envelope.kind)
                yield (ToolsMissing(envelope=shown, servers=tuple((each.server, each.state) for each in missing)),)
            yield piece
