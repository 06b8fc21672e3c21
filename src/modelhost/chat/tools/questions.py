"""Questions to whoever is there: whether a call may run, and what a server wants to know.

A question goes out as ``modelhost.question`` on the stream of the answer that it belongs to, and waits for its answer
(``POST /v1/mcp/approvals/{id}``, ``POST /v1/mcp/elicitations/{id}``). What nobody answers in
time is not done. An answer that does not fit the form of its question is refused, and the question waits on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec.structs import replace

from modelhost.errors import InvalidAnswer, NotFound
from modelhost.exchange.events import HostEvent, Question
from modelhost.tools.approval import ApprovalRequest
from modelhost.tools.context import CallContext, ElicitationAnswer, ElicitationRequest
from modelhost.tools.forms import problems_of

Tell = Callable[[HostEvent], Awaitable[None]]
Kind = Literal["approval", "elicitation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One that waits."""

    answer: asyncio.Future[Any]
    schema: Mapping[str, Any] | None
    """Of the form to fill in, if it is one."""


class Questions:
    """The open questions of a host, by their ids."""

    def __init__(self, seconds: float = 120.0) -> None:
        """``seconds`` is how long an answer is waited for."""
        self._seconds = seconds
        self._open: dict[tuple[Kind, str], _Question] = {}

    def in_context(self, context: CallContext, call_id: str, tell: Tell) -> CallContext:
        """Return ``context`` with ways to ask that ``tell`` the questions of the call ``call_id``."""

        approve = _Approving(questions=self, tell=tell, call_id=call_id)
        elicit = _Eliciting(questions=self, tell=tell, call_id=call_id)
        return replace(context, approve=approve, elicit=elicit)

    async def ask(self, kind: Kind, about: Mapping[str, Any], tell: Tell, *, otherwise: Any) -> Any:
        """Ask, and return the answer; ``otherwise`` if there is none in time."""
        question = secrets.token_urlsafe(12)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[kind, question] = _Question(answer=answer, schema=about.get("schema"))
        try:
            await tell(Question(id=question, kind=kind, seconds=self._seconds, about=about))
            async with asyncio.timeout(self._seconds):
                return await answer
        except TimeoutError:
            return otherwise
        finally:
            del self._open[kind, question]

    def answer_approval(self, question: str, *, is_approved: bool | None) -> None:
        """Answer whether a call may run; ``None``: nobody is there to say so.

        Raises:
            NotFound: nobody waits for it any more.
        """
        self._waiting("approval", question).answer.set_result(is_approved)

    def answer_elicitation(self, question: str, answer: ElicitationAnswer) -> None:
        """Answer what a server wants to know.

        Raises:
            NotFound: nobody waits for it any more.
            InvalidAnswer: it does not fit the form; the question waits on.
        """
        waiting = self._waiting("elicitation", question)
        if answer.action == "accept" and waiting.schema is not None:
            _check(answer, waiting.schema)
        waiting.answer.set_result(answer)

    def _waiting(self, kind: Kind, question: str) -> _Question:
        waiting = self._open.get((kind, question))
        if waiting is None or waiting.answer.done():
            raise NotFound(f"No {kind} with the id {question} is waited for: it is answered, or its time is over.")
        return waiting


def _check(answer: ElicitationAnswer, schema: Mapping[str, Any]) -> None:
    if problems := problems_of(schema, answer.content or {}):
        message = f"The answer does not fit the form: {'; '.join(problems)}. Mend it and answer again."
        raise InvalidAnswer(message, param="content", problems=problems)


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

    async def __call__(self, request: ApprovalRequest) -> bool | None:
        about = {
            "call_id": self.call_id,
            "what": request.kind,
            "server": request.server,
            "name": request.name,
            "tool": request.tool,
            "arguments": dict(request.arguments),
            "annotations": dict(request.annotations),
        }
        answer = await self.questions.ask("approval", about, self.tell, otherwise=None)
        assert answer is None or isinstance(answer, bool)
        return answer


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
