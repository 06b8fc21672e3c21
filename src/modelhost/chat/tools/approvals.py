"""Approvals by another request: which calls wait for one, and what becomes of those that are decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from modelhost.exchange.requests import ApprovalRule, PendingCall
from modelhost.tools.callbacks import ApprovalRequest, CallContext, stricter
from modelhost.tools.outcome import ToolOutcome

if TYPE_CHECKING:  # the MCP SDK is behind it
    from modelhost.tools.catalogue import OfferedTool


def context_for(tool: OfferedTool | None, rules: Mapping[str, ApprovalRule], context: CallContext) -> CallContext:
    """Return ``context`` such that a call of ``tool`` needs approval where ``rules``, by server, want it."""
    rule = None if tool is None else rules.get(tool.server)
    if tool is None or rule is None or not rule.applies(tool.tool, is_read_only=tool.is_read_only):
        return context
    return replace(context, approval=stricter("ask", context.approval))


def denied(call: PendingCall, tool: OfferedTool | None) -> ToolOutcome:
    """Return the outcome of a call that the user does not want."""
    why = f" The user says: {call.reason}" if call.reason else ""
    return ToolOutcome(
        name=call.name,
        text=f"The call was not made: the user denied it.{why}",
        is_error=True,
        code="tool_denied",
        server=tool.server if tool else None,
        tool=tool.tool if tool else None,
    )


@dataclass(frozen=True, slots=True)
class Approved:
    """Approves the one call that it stands for; asks as ever what else comes up meanwhile."""

    others: Callable[[ApprovalRequest], Awaitable[bool | None]] | None

    async def __call__(self, request: ApprovalRequest) -> bool | None:
        if request.kind == "tool":
            return True
        return None if self.others is None else await self.others(request)
