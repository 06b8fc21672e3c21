"""Examples of what the operations on sessions, saved states and the audit log take and give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Example = Mapping[str, Any]

LIST_SESSIONS: Final[Example] = {"limit": 20}
ONE_SESSION: Final[Example] = {"session_id": "anna-42"}
_CARD: Final[Example] = {
    "session_id": "anna-42",
    "created_at": "2026-01-01T12:00:00Z",
    "updated_at": "2026-01-01T12:05:00Z",
    "message_count": 2,
    "model": "qwen",
    "size_bytes": 104,
}
_MESSAGES: Final = [
    {"role": "user", "content": "My name is Anna."},
    {"role": "assistant", "content": "Hello Anna! How can I help?"},
]
SESSIONS: Final[Example] = {"sessions": [_CARD], "total": 1}
SESSION: Final[Example] = {**_CARD, "messages": _MESSAGES}
SESSION_DELETED: Final[Example] = {
    "success": True,
    "session_id": "anna-42",
    "messages": 2,
    "space_freed_bytes": 104,
}
EXPORT: Final[Example] = {
    "version": 1,
    "sessions": [
        {
            "session_id": "anna-42",
            "created_at": "2026-01-01T12:00:00Z",
            "updated_at": "2026-01-01T12:05:00Z",
            "model": "qwen",
            "messages": _MESSAGES,
        }
    ],
}
IMPORTED: Final[Example] = {"success": True, "imported": 1, "not_kept": 0}

SAVE: Final[Example] = {
    "session_id": "before-the-update",
    "include_models": True,
    "include_conversations": True,
    "include_metrics": False,
    "compression": True,
}
SAVED: Final[Example] = {
    "success": True,
    "session_id": "before-the-update",
    "state_id": "state-3f9c1a77b2e0",
    "size_bytes": 20480,
    "timestamp": "2026-01-01T12:10:00Z",
    "models": 2,
    "conversations": 5,
    "configurations": 1,
    "prompt_caches": 1,
}
LOAD: Final[Example] = {
    "session_id": "before-the-update",
    "state_id": "state-3f9c1a77b2e0",
    "restore_models": True,
    "restore_conversations": True,
    "wait": False,
}
RESTORED: Final[Example] = {
    "success": True,
    "session_id": "before-the-update",
    "state_id": "state-3f9c1a77b2e0",
    "restored": {"models": 2, "conversations": 5, "configurations": 1},
    "timestamp": "2026-01-01T12:10:00Z",
    "loading_models": ["qwen"],
    "failed_models": [],
    "missing_models": [],
    "prompt_caches": 0,
}
CLEAR: Final[Example] = {"older_than_hours": 24.0, "include_models": False, "include_conversations": True}
CLEARED: Final[Example] = {"success": True, "cleared_items": 15, "space_freed_bytes": 20480}
_STATE: Final[Example] = {
    "state_id": "state-3f9c1a77b2e0",
    "session_id": "before-the-update",
    "created_at": "2026-01-01T12:10:00Z",
    "size_bytes": 20480,
    "schema_version": 1,
    "compression": "zstd",
    "models": 2,
    "conversations": 5,
    "configurations": 1,
    "has_metrics": False,
}
STATES: Final[Example] = {"sessions": [{"session_id": "before-the-update", "states": [_STATE], "size_bytes": 20480}]}
LABEL: Final[Example] = {"session_id": "before-the-update"}
SUMMARY: Final[Example] = {
    "session_id": "before-the-update",
    "latest": _STATE,
    "states": [_STATE],
    "size_bytes": 20480,
    "conversation": None,
}
AUDIT: Final[Example] = {"limit": 20, "operation": "unload-model"}
ENTRIES: Final[Example] = {
    "entries": [
        {
            "at": "2026-01-01T12:00:00Z",
            "actor": "anna",
            "face": "http",
            "operation": "unload-model",
            "arguments": {"model_id": "qwen", "force": False},
            "outcome": "ok",
            "duration_ms": 41.5,
            "request_id": "req-5c1b-7",
            "model": "qwen",
        }
    ]
}
