"""Whether a call may run: decided from what the server's entry, the request and the tool itself say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from modelhost.tools.entry import Approval

STRICTNESS: Final[tuple[Approval, ...]] = ("auto", "read_only", "ask", "deny")
Verdict = Literal["run", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """What someone is asked to agree to: one call of a tool, or a server's wish to have a model write for it."""

    kind: Literal["tool", "sampling"]
    server: str
    name: str
    """As the model knows the tool; for sampling the server's name."""
    tool: str | None
    """The original name; for sampling that of the tool whose call wants it, if it is known."""
    arguments: Mapping[str, Any] = field(repr=False)
    annotations: Mapping[str, Any]
    """The tool's own hints, such as ``readOnlyHint`` and ``title``."""


def stricter(one: Approval, other: Approval | None) -> Approval:
    """The one of both that lets less through."""
    return one if other is None else max(one, other, key=STRICTNESS.index)


def verdict(approval: Approval, *, is_read_only: bool) -> Verdict:
    """What to do with a call. ``is_read_only`` is the tool's own word (``readOnlyHint``)."""
    match approval:
        case "auto":
            return "run"
        case "read_only":
            return "run" if is_read_only else "ask"
        case _:
            return approval
