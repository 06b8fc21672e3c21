"""Questions to the user: approvals of calls, and elicitations of MCP servers.

A question is sent as ``modelhost.question`` on the stream of its answer, and is answered by
``POST /v1/mcp/approvals/{id}`` or ``POST /v1/mcp/elicitations/{id}``. Without an answer in time, the call does not run.
An answer that does not match the form of its question is refused, and the question stays open.
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
from modelhost.tools.callbacks import ApprovalRequest, CallContext, ElicitationAnswer, ElicitationRequest, problems_of

Send = Callable[[HostEvent], Awaitable[None]]
Kind = Literal["approval", "elicitation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """An open question."""

    answer: asyncio.Future[Any]
    schema: Mapping[str, Any] | None
    """The schema of the form, for an elicitation."""


class Questions:
    """The open questions of a host, by their ids."""

    def __init__(self, seconds: float = 120.0) -> None:
        """``seconds``: the timeout of a question."""
        self._seconds = seconds
        self._open: dict[tuple[Kind, str], _Question] = {}

    def in_context(self, context: CallContext, call_id: str, send: Send) -> CallContext:
        """Return ``context`` with callbacks that ``send`` the questions of the call ``call_id``."""
        approve = _Approve(questions=self, send=send, call_id=call_id)
        elicit = _Elicit(questions=self, send=send, call_id=call_id)
        return replace(context, approve=approve, elicit=elicit)

    async def ask(self, kind: Kind, about: Mapping[str, Any], send: Send, *, default: Any) -> Any:
        """Send a question and return its answer, ``default`` if there is none in time."""
        question = secrets.token_urlsafe(12)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[kind, question] = _Question(answer=answer, schema=about.get("schema"))
        try:
            await send(Question(id=question, kind=kind, seconds=self._seconds, about=about))
            async with asyncio.timeout(self._seconds):
                return await answer
        except TimeoutError:
            return default
        finally:
            del self._open[kind, question]

    def answer_approval(self, question: str, *, is_approved: bool | None) -> None:
        """Answer an approval; ``None``: no user is present.

        Raises:
            NotFound: the question is not open any more.
        """
        self._waiting("approval", question).answer.set_result(is_approved)

    def answer_elicitation(self, question: str, answer: ElicitationAnswer) -> None:
        """Answer an elicitation.

        Raises:
            NotFound: the question is not open any more.
            InvalidAnswer: the answer does not match the form; the question stays open.
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
class _Asker:
    """Sends the questions of one call.

    All of the same stream are equal: where a server does not say to which of its calls a question belongs, any of them
    will do, since the user is the same.
    """

    questions: Questions
    send: Send
    call_id: str = field(compare=False)


class _Approve(_Asker):
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
        answer = await self.questions.ask("approval", about, self.send, default=None)
        assert answer is None or isinstance(answer, bool)
        return answer


class _Elicit(_Asker):
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
        answer = await self.questions.ask("elicitation", about, self.send, default=ElicitationAnswer(action="cancel"))
        assert isinstance(answer, ElicitationAnswer)
        return answer
