"""What a saved state holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = 1
"""Raised when an older version could not understand what a newer one saves."""


class SavedModel(BaseModel):
    """A model of the host: whether it was loaded, and how its configuration differed from its file's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    is_loaded: bool = False
    is_active: bool = False
    config: dict[str, Any] = Field(default_factory=dict)


class SavedConversation(BaseModel):
    """A session with its messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_id: str
    created_at: datetime
    updated_at: datetime
    model: str | None = None
    messages: tuple[dict[str, Any], ...] = ()


class SavedPromptCache(BaseModel):
    """A file beside the database with what an engine had computed for a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_id: str
    model: str
    file: str
    size_bytes: int
    sha256: str
    fingerprint: str


class SnapshotDocument(BaseModel):
    """Everything that one saved state holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    models: tuple[SavedModel, ...] = ()
    conversations: tuple[SavedConversation, ...] = ()
    metrics: dict[str, Any] | None = None
    prompt_caches: tuple[SavedPromptCache, ...] = ()
