"""The calls of one turn that the client runs, where a request brings tools beside those of the host."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from modelhost.chat.tools.calls import RequestedCall
from modelhost.exchange.events import CustomCallPiece, Event, Piece, ToolCallPiece
from modelhost.exchange.messages import ToolCall
from modelhost.exchange.whole_answer import WholeAnswer


class ClientCalls:
    """Finds the pieces of these calls among those of a turn, and numbers them as the client sees them."""

    def __init__(self, names: Collection[str]) -> None:
        """``names`` are the client's tools."""
        self._names = names
        self._places: dict[int, int] = {}
        self._held: list[ToolCallPiece | CustomCallPiece] = []
        self._written = WholeAnswer()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._places)

    @property
    def as_called(self) -> tuple[ToolCall, ...]:
        """The calls so far."""
        return self._written.choice().message.tool_calls or ()

    def has(self, name: str) -> bool:
        """Whether the client runs the tool ``name``."""
        return name in self._names

    def take(self, piece: Piece, calls: Sequence[RequestedCall], *, is_held: bool) -> Sequence[Event]:
        """Return the client's part of ``piece``, of which ``calls`` know the names.

        With ``is_held`` it is kept for :meth:`held`: where calls of the host run, their events would stand in between.
        """
        if not self._names:
            return ()
        taken = tuple(
            replace(event, index=self._places.setdefault(event.index, len(self._places)))
            for event in piece
            if isinstance(event, CustomCallPiece)
            or (isinstance(event, ToolCallPiece) and self.has(calls[event.index].name))
        )
        self._written.add(taken)
        if is_held or self._held:
            self._held += taken
            return ()
        return taken

    def held(self) -> Sequence[Event]:
        """Return what was kept, each call in one piece: clients read the first entry of a chunk for each call."""
        whole: dict[int, ToolCallPiece | CustomCallPiece] = {}
        for event in self._held:
            known = whole.get(event.index)
            whole[event.index] = event if known is None else _joined(known, event)
        return list(whole.values())


def _joined(
    known: ToolCallPiece | CustomCallPiece, piece: ToolCallPiece | CustomCallPiece
) -> ToolCallPiece | CustomCallPiece:
    if isinstance(known, CustomCallPiece) and isinstance(piece, CustomCallPiece):
        return replace(known, input=(known.input or "") + (piece.input or ""))
    assert isinstance(known, ToolCallPiece)
    assert isinstance(piece, ToolCallPiece)
    return replace(known, arguments=(known.arguments or "") + (piece.arguments or ""))
