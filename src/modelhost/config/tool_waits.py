"""Who waits for MCP servers that are still starting."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from modelhost.config.booleans import BOOLEANS


def _named(value: Any) -> Any:
    """Return ``value``; the setting was once a boolean: whether the start of the host waits."""
    is_waiting = BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(is_waiting, bool):
        return value
    return "ready" if is_waiting else "never"


WaitForTools = Annotated[Literal["never", "requests", "ready"], BeforeValidator(_named)]
