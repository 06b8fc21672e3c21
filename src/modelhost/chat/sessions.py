"""One request in a session: what the model is asked, and what is stored of it, and when.

Stored is, in this order, what the request added, the calls that the host made with their results, and the answer; of
several choices the first. All of it is durable before the client is told the end, and nothing is stored of a request
that fails or whose client leaves before. What a model thought is not kept, and neither is what ``mcp`` brought in
(resources, prompts): the conversation is what was said in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import replace

from modelhost.chat.continuing import continued
from modelhost.exchange.events import Finish, Piece, Pieces, PieceStream
from modelhost.exchange.messages import Message, message_json, messages_of
from modelhost.exchange.requests import ChatRequest
from modelhost.exchange.whole import Whole
from modelhost.logs import get_logger, has_debug

if TYPE_CHECKING:
    from modelhost.chat.loop import ToolLoop

log = get_logger(__name__)

KEPT: Final = ("role", "content", "tool_calls", "tool_call_id")
"""What is stored of a message that the model or a tool made."""


class HeldSession(Protocol):
    """A session that nobody else can change meanwhile."""

    @property
    def messages(self) -> tuple[Mapping[str, Any], ...]:
        """The conversation so far, its system message first if it has one."""

    async def append(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        system: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> None:
        """Add ``messages``, all or none; they are durable when it returns. ``system`` takes the place of the old."""


class SessionTurn:
    """One request, as long as its session is held."""

    def __init__(self, held: HeldSession, request: ChatRequest, *, model: str) -> None:
        """Take a request for the model called ``model``.

        Raises:
            InvalidRequest: it adds nothing.
        """
        self._held = held
        self._model = model
        self._continuation = continued(messages_of(held.messages), request.messages)
        if has_debug():
            log.debug(
                "session_continued",
                session=request.session_id,
                model=model,
                stored=len(held.messages),
                given=len(request.messages),
                new=len(self._continuation.new),
                has_new_system=self._continuation.system is not None,
            )
        self._loop: ToolLoop | None = None
        self.request = replace(request, messages=self._continuation.conversation)
        """What the model is asked."""

    def follow(self, loop: ToolLoop) -> None:
        """Note that ``loop`` makes the answer: its turns are part of the conversation."""
        self._loop = loop

    async def stored(self, pieces: Pieces) -> PieceStream:
        """Yield ``pieces``, the end of the answer only when all is stored.

        Raises:
            DatabaseUnavailable: it could not be stored; nothing is.
        """
        answer, unfinished = Whole(), self.request.n
        last: list[Piece] = []
        async for piece in pieces:
            answer.add(piece)
            unfinished -= sum(1 for event in piece if isinstance(event, Finish))
            if last or unfinished <= 0:
                last.append(piece)
            else:
                yield piece
        await self._store(answer)
        for piece in last:
            yield piece

    async def _store(self, answer: Whole) -> None:
        """Store the exchange that ``answer`` completes. Who is cancelled meanwhile waits for the end of it."""
        said = self._loop.transcript if self._loop is not None else [answer.choice().message]
        kept = [_kept(message) for message in said]
        continuation = self._continuation
        new = [message_json(message) for message in continuation.new]
        system = None if continuation.system is None else message_json(continuation.system)
        writing = asyncio.ensure_future(self._held.append([*new, *kept], system=system, model=self._model))
        try:
            await asyncio.shield(writing)
            if has_debug():
                log.debug("session_stored", session=self.request.session_id, added=len(new) + len(kept))
        except asyncio.CancelledError:
            # The session must not be given to the next one before this is over, one way or the other.
            await asyncio.wait([writing])
            raise


def _kept(message: Message) -> dict[str, Any]:
    written = {"content": None, **message_json(message)}
    return {name: written[name] for name in KEPT if name in written}
