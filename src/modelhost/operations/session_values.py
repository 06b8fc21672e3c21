"""What the operations on sessions take, and what they answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from modelhost.config.literals import One
from modelhost.config.session_ids import NewSessionId, SessionId
from modelhost.operations.moments import Moment
from modelhost.operations.operation import Parameters, Result

THE_SESSION: Final = "A session, by the id that its requests bring."


class OneSession(Parameters):
    """A session."""

    session_id: SessionId = Field(description=THE_SESSION)


class ListParameters(Parameters):
    """Which part of the list."""

    limit: int = Field(default=100, ge=1, le=10_000, strict=False, description="Sessions at most.")
    before: Moment | None = Field(
        default=None, description="Only those that were last used before it: `2026-01-01T12:00:00Z`."
    )


class ExportParameters(Parameters):
    """What to export."""

    session_id: SessionId | None = Field(default=None, description="Only this session. Default: all of them.")


class SessionDocument(Parameters):
    """A session as it is exported and imported."""

    session_id: NewSessionId = Field(description=THE_SESSION)
    created_at: Moment | None = Field(default=None, description="When it began. Default: now.")
    updated_at: Moment | None = Field(default=None, description="When it was used last. Default: now.")
    model: str | None = Field(default=None, description="The model that answered last.")
    messages: list[dict[str, Any]] = Field(
        min_length=1, description="The conversation, as messages of OpenAI's API; a system message comes first."
    )


class ImportParameters(Parameters):
    """Sessions, as an export holds them. One that is there already is replaced."""

    version: One = Field(default=1, description="Of the format.")
    sessions: list[SessionDocument] = Field(description="All of them are taken, or none.")


class SessionCard(Result):
    """A session without its messages."""

    session_id: str
    created_at: datetime
    updated_at: datetime = Field(description="When it was used last.")
    message_count: int
    model: str | None = Field(description="The model that answered last.")
    size_bytes: int = Field(description="The length of its messages.")


class SessionReport(SessionCard):
    """A session."""

    messages: list[dict[str, Any]] = Field(description="The conversation, its system message first if it has one.")


class SessionList(Result):
    """Sessions, the one that was used last first."""

    sessions: list[SessionCard]
    total: int = Field(description="How many there are, listed here or not.")


class SessionDeleted(Result):
    """A session that is gone."""

    success: bool
    session_id: str
    messages: int
    space_freed_bytes: int


class SessionExport(Result):
    """Sessions as an import takes them."""

    version: Literal[1] = 1
    sessions: list[SessionDocument]


class Imported(Result):
    """What an import took."""

    success: bool
    imported: int
    not_kept: int = Field(description="Those that were used so long ago that the limit of sessions leaves them out.")
