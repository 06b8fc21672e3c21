"""Questions to whoever is there: whether a call may run, and what a server wants to know.

A question goes out as ``modelhost.question`` on the stream of the answer that it belongs to, and waits for its answer
(``POST /v1/mcp/approvals/{id}``, ``POST /v1/mcp/elicitations/{id}``). Nobody answering in time is a no.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from modelhost.chat.tool_events import QUESTION
from modelhost.errors import NotFound
from modelhost.tools.approval import ApprovalRequest
from modelhost.tools.context import CallContext, ElicitationAnswer, ElicitationRequest

Tell = Callable[[str, Mapping[str, Any]], Awaitable[None]]
Kind = Literal["approval", "elicitation"]


class Questions:
    """The open questions of a host, by their ids."""

    def __init__(self, seconds: float = 120.0) -> None:
        """``seconds`` is how long an answer is waited for."""
        self._seconds = seconds
        self._open: dict[tuple[Kind, str], asyncio.Future[Any]] = {}

    def in_context(self, context: CallContext, call_id: str, tell: Tell) -> CallContext:
        """Return ``context`` with ways to ask that ``tell`` the questions of the call ``call_id``."""

        approve = _Approving(questions=self, tell=tell, call_id=call_id)
        elicit = _Eliciting(questions=self, tell=tell, call_id=call_id)
        return replace(context, approve=approve, elicit=elicit)

    async def ask(self, kind: Kind, about: Mapping[str, Any], tell: Tell, *, otherwise: Any) -> Any:
        """Ask, and return the answer; ``otherwise`` if there is none in time."""
        question = secrets.token_urlsafe(12)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[kind, question] = answer
        try:
            await tell(QUESTION, {"id": question, "kind": kind, "seconds": self._seconds, **about})
            async with asyncio.timeout(self._seconds):
                return await answer
        except TimeoutError:
            return otherwise
        finally:
            del self._open[kind, question]

    def answer_approval(self, question: str, *, is_approved: bool) -> None:
        """Answer whether a call may run; raises NotFound if nobody waits for it any more."""
        self._answer("approval", question, is_approved)

    def answer_elicitation(self, question: str, answer: ElicitationAnswer) -> None:
        """Answer what a server wants to know; raises NotFound if nobody waits for it any more."""
        self._answer("elicitation", question, answer)

    def _answer(self, kind: Kind, question: str, answer: Any) -> None:
        waiting = self._open.get((kind, question))
        if waiting is None or waiting.done():
            raise NotFound(f"No {kind} with the id {question} is waited for: it is answered, or its time is over.")
        waiting.set_result(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """Asks for a call.

    All that ask on the same stream are equal, whatever their calls: where a server does not say which of its calls a
    question belongs to, it is enough that the person is the same.
    """

    questions: Questions
    tell: Tell
    call_id: str = field(compare=False)


class _Approving(_Asking):
    __slots__ = ()

    async def __call__(self, request: ApprovalRequest) -> bool:
        about = {
            "call_id": self.call_id,
            "what": request.kind,
            "server": request.server,
            "name": request.name,
            "tool": request.tool,
            "arguments": dict(request.arguments),
            "annotations": dict(request.annotations),
        }
        return bool(await self.questions.ask("approval", about, self.tell, otherwise=False))


class _Eliciting(_Asking):
    __slots__ = ()

    async def __call__(self, request: ElicitationRequest) -> ElicitationAnswer:
        about = {
            "call_id": self.call_id,
            "server": request.server,
            "tool": request.tool,
            "message": request.message,
            "mode": request.mode,
            "schema": dict(request.schema),
            "url": request.url,
        }
        answer = await self.questions.ask("elicitation", about, self.tell, otherwise=ElicitationAnswer(action="cancel"))
        assert isinstance(answer, ElicitationAnswer)
        return answer
