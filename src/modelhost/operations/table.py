"""All administrative operations by their areas: HTTP serves them, MCP and the command line show some of them."""

from __future__ import annotations

from typing import Final

from modelhost.operations import mcp_resources, model_loading, models, sessions, state, tools
from modelhost.operations.audit import GET_AUDIT
from modelhost.operations.llm import MODEL_INFO
from modelhost.operations.machine_stats import GET_GPU_STATS, GET_MEMORY_STATS
from modelhost.operations.monitor import GET_ALERTS, GET_METRICS
from modelhost.operations.operation import AnyOperation

Operations = tuple[AnyOperation, ...]

MODEL_OPERATIONS: Final[Operations] = (
    models.LIST,
    models.STATUS,
    models.INFO,
    models.LOGS,
    model_loading.LOAD,
    model_loading.UNLOAD,
    model_loading.SELECT,
    model_loading.CONFIGURE,
    model_loading.PULL,
)
TOOL_OPERATIONS: Final[Operations] = (
    tools.LIST_TOOLS,
    tools.LIST_SERVERS,
    tools.RESTART,
    tools.ENABLE,
    tools.DISABLE,
    tools.CALL,
    mcp_resources.LIST_RESOURCES,
    mcp_resources.READ_RESOURCE,
    mcp_resources.LIST_PROMPTS,
    mcp_resources.GET_PROMPT,
    tools.APPROVE,
    tools.ANSWER,
)
SESSION_OPERATIONS: Final[Operations] = (
    sessions.LIST_SESSIONS,
    sessions.SHOW_SESSION,
    sessions.DELETE_SESSION,
    sessions.EXPORT_SESSIONS,
    sessions.IMPORT_SESSIONS,
)
STATE_OPERATIONS: Final[Operations] = (state.SAVE, state.LOAD, state.CLEAR, state.LIST_STATES, state.STATE_SUMMARY)
MONITOR_OPERATIONS: Final[Operations] = (GET_METRICS, GET_GPU_STATS, GET_MEMORY_STATS)
OPERATIONS: Final[Operations] = (
    *MODEL_OPERATIONS,
    MODEL_INFO,
    *TOOL_OPERATIONS,
    *SESSION_OPERATIONS,
    *STATE_OPERATIONS,
    GET_AUDIT,
    *MONITOR_OPERATIONS,
    GET_ALERTS,
)
