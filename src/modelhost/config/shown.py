"""Values as a person or a JSON reader sees them: secrets masked."""

from __future__ import annotations

import json
from typing import Any

from pydantic import SecretStr

MASK = "********"


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it; each secret is a mask, so that their number still shows."""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def text(value: Any) -> str:
    """``value`` on one line; a dash for none or an empty one."""
    if value is None or value in ((), {}):
        return "-"
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ", ".join(str(plain(item)) for item in value)
    if isinstance(value, dict | bool):
        return json.dumps(plain(value), ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)
