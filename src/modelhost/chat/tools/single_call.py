"""``parallel_tool_calls: false``, enforced where the engine writes several calls nevertheless."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from modelhost.exchange.events import Begin, CustomCallPiece, Piece, ToolCallPiece

CALLS: Final = (ToolCallPiece, CustomCallPiece)


class SingleCallRewriter:
    """Leaves out all calls of one choice but the first."""

    def __init__(self) -> None:
        self._first: int | None = None

    def rewrite(self, piece: Piece) -> Piece:
        """Return ``piece`` without later calls; it stays one, even if there is nothing else in it."""
        kept = []
        for event in piece:
            if isinstance(event, CALLS):
                if self._first is None:
                    self._first = event.index
                if event.index != self._first:
                    continue
            kept.append(event)
        if len(kept) == len(piece):
            return piece
        if not kept:
            return (Begin(envelope=piece[0].envelope, role=None),)
        return (replace(kept[0], extra=piece[0].extra), *kept[1:])
