"""What the operations on saved states and on the audit log take, and what they answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from modelhost.config.session_ids import NewSessionId, SessionId
from modelhost.operations.operation import Parameters, Result
from modelhost.operations.sessions import SessionCard
from modelhost.operations.timestamps import Moment

DEFAULT_LABEL = "default"


class SaveParameters(Parameters):
    """What to save."""

    session_id: NewSessionId = Field(
        default=DEFAULT_LABEL, description="The name under which it is saved, of your choice."
    )
    include_models: bool = Field(default=True, description="Which models are loaded, and how they are configured.")
    include_conversations: bool = Field(
        default=True, description="All sessions and, where an engine can, what it has computed for them."
    )
    include_metrics: bool = Field(default=False, description="The metrics as they are now, to be looked at later.")
    compression: bool = Field(default=True, description="Save it compressed, by Zstandard.")


class RestoreParameters(Parameters):
    """What to restore."""

    session_id: SessionId | None = Field(
        default=None, description="The name under which it was saved; of several the newest. Default: any."
    )
    state_id: Annotated[str, Field(min_length=1)] | None = Field(default=None, description="One saved state.")
    restore_models: bool = Field(default=True, description="Load the models, and configure them as they were.")
    restore_conversations: bool = Field(default=True, description="Put the sessions back as they were.")
    wait: bool = Field(default=False, description="Answer when the models are loaded, and not at once.")


class ClearParameters(Parameters):
    """What to clear. Without `session_id` and `older_than_hours` everything of the kinds that are included."""

    session_id: SessionId | None = Field(
        default=None, description="Only the session of that id, and states that are saved under that name."
    )
    older_than_hours: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Only what was not used, or was saved, before so many hours.",
    )
    include_models: bool = Field(default=False, description="The models in saved states.")
    include_conversations: bool = Field(default=True, description="Sessions, and the conversations in saved states.")


class OneLabel(Parameters):
    """A name under which states are saved."""

    session_id: SessionId


class StateReport(Result):
    """One saved state."""

    state_id: str
    session_id: str
    created_at: datetime
    size_bytes: int = Field(description="What it takes: in the database, and its prompt caches beside it.")
    schema_version: int = Field(description="Of the format.")
    compression: str = Field(description="`zstd` or `none`.")
    models: int
    conversations: int
    configurations: int = Field(description="Models with a configuration of their own.")
    has_metrics: bool


class Saved(Result):
    """A state that was saved."""

    success: bool
    session_id: str
    state_id: str
    size_bytes: int = Field(description="What it takes: in the database, and its prompt caches beside it.")
    timestamp: datetime
    models: int
    conversations: int
    configurations: int
    prompt_caches: int = Field(description="Conversations whose computation by an engine is saved with them.")


class RestoredCounts(Result):
    """How much was restored."""

    models: int = Field(description="Models that were loaded, and are now or will be.")
    conversations: int
    configurations: int


class Restored(Result):
    """A state that was restored."""

    success: bool
    session_id: str
    state_id: str
    restored: RestoredCounts
    timestamp: datetime
    loading_models: list[str] = Field(description="Models that are still being loaded.")
    failed_models: list[str] = Field(description="Models that could not be loaded, where the answer waited for that.")
    missing_models: list[str] = Field(description="Models in the saved state that this host does not have.")
    prompt_caches: int = Field(description="Conversations that an engine need not compute again; more may follow.")


class Cleared(Result):
    """What is gone."""

    success: bool
    cleared_items: int = Field(description="Sessions, and saved states or parts of them.")
    space_freed_bytes: int = Field(description="What sessions and saved states took, as their `size_bytes` say.")


class SavedSession(Result):
    """What is saved under one name."""

    session_id: str
    states: list[StateReport] = Field(description="The newest first.")
    size_bytes: int


class SavedSessions(Result):
    """All saved states by their names, the name of the newest first."""

    sessions: list[SavedSession]


class StateSummary(Result):
    """What is there under one name: saved states, and a session of that id."""

    session_id: str
    latest: StateReport | None
    states: list[StateReport] = Field(description="The newest first.")
    size_bytes: int
    conversation: SessionCard | None = Field(description="The session as it is now.")


class AuditParameters(Parameters):
    """Which entries."""

    limit: int = Field(default=100, ge=1, le=10_000, strict=False, description="Entries at most.")
    before: Moment | None = Field(default=None, description="Only older ones: `2026-01-01T12:00:00Z`.")
    operation: str | None = Field(default=None, description="Only this operation.")
    actor: str | None = Field(default=None, description="Only what this one did.")
    outcome: str | None = Field(default=None, description="`ok`, or the code of an error.")


class AuditReport(Result):
    """One operation that somebody had done."""

    at: datetime
    actor: str = Field(description="The name of the API key, `key-` and a hash of one without a name, or `anonymous`.")
    face: str = Field(description="The way it came: `http`, `mcp-http`, `mcp-stdio` or `host`.")
    operation: str
    arguments: dict[str, Any] = Field(description="Without contents and secrets.")
    outcome: str = Field(description="`ok`, or the code of an error.")
    duration_ms: float
    request_id: str | None
    model: str | None


class AuditList(Result):
    """Entries of the audit log, the newest first."""

    entries: list[AuditReport]
