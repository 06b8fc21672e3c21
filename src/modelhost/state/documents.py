"""The contents of a saved state."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from modelhost.state.records import Session

SCHEMA_VERSION: Final = 1
"""Incremented when older versions could not read what a newer one saves."""


class SavedModel(BaseModel):
    """A model of the host: whether it was loaded, and how its configuration differed from the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    is_loaded: bool = False
    is_active: bool = False
    is_added: bool = False
    """Whether a client had added it; then its name identifies the model."""
    config: dict[str, Any] = Field(default_factory=dict)


class SavedConversation(BaseModel):
    """A session with its messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    session_id: str
    created_at: datetime
    updated_at: datetime
    model: str | None = None
    messages: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(
            session_id=session.id,
            created_at=session.created_at,
            updated_at=session.updated_at,
            model=session.model,
            messages=tuple(dict(message) for message in session.messages),
        )

    def session(self) -> Session:
        return Session.of(
            self.session_id,
            self.messages,
            model=self.model,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


class SavedPromptCache(BaseModel):
    """A file beside the database with an engine's prompt cache of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    session_id: str
    model: str
    file: str
    size_bytes: int
    sha256: str
    fingerprint: str


class SnapshotDocument(BaseModel):
    """The whole contents of a saved state."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: int = SCHEMA_VERSION
    models: tuple[SavedModel, ...] = ()
    conversations: tuple[SavedConversation, ...] = ()
    metrics: dict[str, Any] | None = None
    prompt_caches: tuple[SavedPromptCache, ...] = ()
