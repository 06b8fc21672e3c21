"""The spans of a tool call and of its approval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from modelhost import json_text
from modelhost.tools.outcome import ToolOutcome
from modelhost.tracing import spans
from modelhost.tracing.spans import MaybeSpan, Span, Value

if TYPE_CHECKING:
    from modelhost.tools.catalogue import OfferedTool

TOOL: Final = "gen_ai.tool.name"
SERVER: Final = "modelhost.mcp.server"
APPROVAL: Final = "modelhost.approval"
DECISIONS: Final[Mapping[bool | None, str]] = {True: "approved", False: "denied", None: "unanswered"}
DEFERRED: Final = "deferred"
"""The call is left to another request, which brings the decision."""


def call_span(offered: OfferedTool, arguments: Mapping[str, Any] | str, call_id: str | None) -> MaybeSpan:
    """Return the span of a call, to be entered."""
    if (tracer := spans.tracer()) is None:
        return spans.OFF
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.type": "extension",
        TOOL: offered.name,
        SERVER: offered.server,
    }
    if call_id is not None:
        attributes["gen_ai.tool.call.id"] = call_id
    if tracer.records_content:
        given = arguments if isinstance(arguments, str) else json_text.encode(arguments).decode()
        attributes["gen_ai.tool.call.arguments"] = given
    return tracer.span(f"execute_tool {offered.name}", attributes)


def note_outcome(span: Span | None, outcome: ToolOutcome) -> None:
    if span is None:
        return
    if outcome.is_error:
        span.fail(outcome.code or "tool_failed")
    if (tracer := spans.tracer()) is not None and tracer.records_content:
        span.set({"gen_ai.tool.call.result": outcome.text})


def approval_span(offered: OfferedTool) -> MaybeSpan:
    """Return the span of the wait for an approval, to be entered."""
    if (tracer := spans.tracer()) is None:
        return spans.OFF
    return tracer.span(f"approval {offered.name}", {TOOL: offered.name, SERVER: offered.server})


def note_decision(span: Span | None, is_approved: bool | None) -> None:
    if span is not None:
        span.set({APPROVAL: DECISIONS[is_approved]})


def decided(name: str, decision: str) -> None:
    """Record an approval that another request decides, or has decided."""
    if (tracer := spans.tracer()) is not None:
        tracer.past(f"approval {name}", {TOOL: name, APPROVAL: decision})
