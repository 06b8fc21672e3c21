"""All administrative operations, in one table: HTTP serves them, MCP and the command line show some of them."""

from __future__ import annotations

from typing import Final

from modelhost.operations.audit import AUDIT_OPERATIONS
from modelhost.operations.llm import LLM_OPERATIONS
from modelhost.operations.models import MODEL_OPERATIONS
from modelhost.operations.operation import AnyOperation
from modelhost.operations.sessions import SESSION_OPERATIONS
from modelhost.operations.state import STATE_OPERATIONS
from modelhost.operations.tools import TOOL_OPERATIONS

OPERATIONS: Final[tuple[AnyOperation, ...]] = (
    *MODEL_OPERATIONS,
    *LLM_OPERATIONS,
    *TOOL_OPERATIONS,
    *SESSION_OPERATIONS,
    *STATE_OPERATIONS,
    *AUDIT_OPERATIONS,
)
