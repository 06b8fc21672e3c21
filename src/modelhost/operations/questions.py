"""The operations that answer questions: whether a call may run, and what an MCP server wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from modelhost.errors import InvalidAnswer, NotFound
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result
from modelhost.tools.callbacks import ElicitationAnswer

if TYPE_CHECKING:
    from modelhost.host import Host

QuestionId = Annotated[str, Field(min_length=1, description="The `id` of a `modelhost.question` on a stream.")]


class ApprovalParameters(Parameters):
    """The answer to whether a call may run."""

    id: QuestionId
    approve: bool | None = Field(description="Whether the call may run; `null` dismisses the question.")


class ElicitationParameters(Parameters):
    """The answer to what an MCP server wants to know."""

    id: QuestionId
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, str | int | float | bool | list[str] | None] | None = Field(
        default=None, description="With `accept`: values for the fields of the question's `schema`."
    )


class Answered(Result):
    """An answer that was taken."""

    success: bool
    id: str


async def _approve(host: Host, parameters: ApprovalParameters, _on_progress: OnProgress) -> Answered:
    host.questions.answer_approval(parameters.id, is_approved=parameters.approve)
    return Answered(success=True, id=parameters.id)


async def _answer(host: Host, parameters: ElicitationParameters, _on_progress: OnProgress) -> Answered:
    host.questions.answer_elicitation(
        parameters.id, ElicitationAnswer(action=parameters.action, content=parameters.content)
    )
    return Answered(success=True, id=parameters.id)


APPROVE: Final = Operation(
    name="answer-approval",
    summary="Approve or deny a tool call",
    parameters=ApprovalParameters,
    result=Answered,
    work=_approve,
    route=HttpRoute(method="POST", path="/v1/mcp/approvals/{id}"),
    area="tools",
    errors=(NotFound,),
    audited=("id", "approve"),
    example={"id": "k3Jv0bq2xTfW9sYh", "approve": True},
    answer={"success": True, "id": "k3Jv0bq2xTfW9sYh"},
)
ANSWER: Final = Operation(
    name="answer-elicitation",
    summary="Answer a question of an MCP server",
    parameters=ElicitationParameters,
    result=Answered,
    work=_answer,
    route=HttpRoute(method="POST", path="/v1/mcp/elicitations/{id}"),
    area="tools",
    errors=(NotFound, InvalidAnswer),
    audited=("id", "action"),
    example={"id": "k3Jv0bq2xTfW9sYh", "action": "accept", "content": {"city": "Paris"}},
    answer={"success": True, "id": "k3Jv0bq2xTfW9sYh"},
)
