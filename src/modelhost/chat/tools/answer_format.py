"""The format of an answer that a tool loop gives: only the turn that writes the answer is held to it.

No engine can hold a model to a schema in a turn in which it may call tools. So these turns are free, and their text is
held back, since a client takes all of it for JSON. If a turn makes no call and its text follows the schema, that is the
answer. If it does not, the model writes the answer in one more turn, from the same conversation, held to the schema and
without tools.
"""

from __future__ import annotations

from msgspec.structs import replace

from modelhost.chat.structured_output import VIOLATED, OutputSchema
from modelhost.chat.tools.loop_turn import LoopTurn
from modelhost.exchange.events import FinishDetails, Piece, Text
from modelhost.exchange.requests import ChatRequest


class AnswerFormat:
    """What the answer of one loop has to be; without a ``schema``, anything."""

    def __init__(self, schema: OutputSchema | None) -> None:
        self._schema = schema

    def shown(self, turn: LoopTurn, piece: Piece) -> Piece:
        """Return what the client gets of ``piece`` as it is written; it may be nothing."""
        return tuple(event for event in piece if not isinstance(event, Text)) if turn.is_held_back else piece

    def is_free(self, request: ChatRequest, *, may_call: bool) -> bool:
        """Whether a turn with ``request`` is free of the format, because the model may call a tool in it."""
        return self._schema is not None and may_call and bool(request.tools) and request.tool_choice != "none"

    def applied(self, request: ChatRequest, turn: LoopTurn) -> ChatRequest:
        """Return ``request`` for ``turn``: free, or held to the format and without tools."""
        if self._schema is None:
            return request
        if turn.is_held_back:
            return replace(request, output=None)
        return replace(request, tools=(), tool_choice="none", named_tool=None, allowed_tools=None)

    def is_kept(self, turn: LoopTurn) -> bool:
        """Whether a free turn without calls has written the answer; one that was cut off is not written again."""
        return turn.finish_reason not in (None, "stop") or self.violation(turn) is None

    def violation(self, turn: LoopTurn) -> FinishDetails | None:
        """Return what is wrong with the text of a turn that ended by itself."""
        if self._schema is None or turn.finish_reason not in (None, "stop") or turn.finish_details is not None:
            return None
        problem = self._schema.problem_of(turn.text)
        return None if problem is None else FinishDetails(kind=VIOLATED, message=problem)
