"""The operations on sessions: their parameters, results and declarations."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from modelhost import lazy
from modelhost.config.value_types import LiteralOne, NewSessionId, SessionId
from modelhost.errors import DatabaseUnavailable, InvalidRequest, SessionNotFound
from modelhost.operations.operation import HttpRoute, OnProgress, Operation, Parameters, Result, Timestamp

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.state.records import Session, SessionInfo

THE_SESSION: Final = "A session, by the id that its requests bring."


class OneSession(Parameters):
    """A session."""

    session_id: SessionId = Field(description=THE_SESSION)


class ListParameters(Parameters):
    """Which part of the list."""

    limit: int = Field(default=100, ge=1, le=10_000, strict=False, description="Maximum number of sessions.")
    before: Timestamp | None = Field(
        default=None, description="Only sessions last used before this time: `2026-01-01T12:00:00Z`."
    )


class ExportParameters(Parameters):
    """What to export."""

    session_id: SessionId | None = Field(default=None, description="Only this session. Default: all.")


class SessionDocument(Parameters):
    """A session as it is exported and imported."""

    session_id: NewSessionId = Field(description=THE_SESSION)
    created_at: Timestamp | None = Field(default=None, description="Time of creation. Default: now.")
    updated_at: Timestamp | None = Field(default=None, description="Time of last use. Default: now.")
    model: str | None = Field(default=None, description="The model of the last answer.")
    messages: list[dict[str, Any]] = Field(
        min_length=1, description="The conversation, as OpenAI messages; a system message comes first."
    )


class ImportParameters(Parameters):
    """Sessions, as an export holds them. One that is there already is replaced."""

    version: LiteralOne = Field(default=1, description="Version of the format.")
    sessions: list[SessionDocument] = Field(description="The sessions; either all are imported, or none.")


class SessionCard(Result):
    """A session without its messages."""

    session_id: str
    created_at: datetime
    updated_at: datetime = Field(description="Time of last use.")
    message_count: int
    model: str | None = Field(description="The model of the last answer.")
    size_bytes: int = Field(description="The size of its messages.")


class SessionReport(SessionCard):
    """A session."""

    messages: list[dict[str, Any]] = Field(
        description="The conversation, starting with its system message, if it has one."
    )


class SessionList(Result):
    """Sessions, the one that was used last first."""

    sessions: list[SessionCard]
    total: int = Field(description="The total number, listed or not.")


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
    not_kept: int = Field(description="Sessions that were not kept because of the limit on sessions.")


async def _list(host: Host, parameters: ListParameters, _on_progress: OnProgress) -> SessionList:
    sessions = host.state.sessions
    found = await sessions.list(limit=parameters.limit, before=parameters.before)
    return SessionList(sessions=[session_card(session) for session in found], total=await sessions.count())


def session_card(session: SessionInfo) -> SessionCard:
    """Return a session without its messages."""
    return SessionCard(
        session_id=session.id,
        created_at=session.created_at,
        updated_at=session.updated_at,
        message_count=session.message_count,
        model=session.model,
        size_bytes=session.size_bytes,
    )


async def _show(host: Host, parameters: OneSession, _on_progress: OnProgress) -> SessionReport:
    session = await host.state.sessions.get(parameters.session_id)
    return SessionReport(**dict(session_card(session)), messages=[dict(message) for message in session.messages])


async def _delete(host: Host, parameters: OneSession, _on_progress: OnProgress) -> SessionDeleted:
    removed = await host.state.sessions.delete(parameters.session_id)
    return SessionDeleted(
        success=True, session_id=parameters.session_id, messages=removed.messages, space_freed_bytes=removed.bytes
    )


async def _export(host: Host, parameters: ExportParameters, _on_progress: OnProgress) -> SessionExport:
    if parameters.session_id is not None:
        return SessionExport(sessions=[_document(await host.state.sessions.get(parameters.session_id))])
    async with aclosing(host.state.sessions.all()) as sessions:
        return SessionExport(sessions=[_document(session) async for session in sessions])


def _document(session: Session) -> SessionDocument:
    return SessionDocument(
        session_id=session.id,
        created_at=session.created_at,
        updated_at=session.updated_at,
        model=session.model,
        messages=[dict(message) for message in session.messages],
    )


async def _import(host: Host, parameters: ImportParameters, _on_progress: OnProgress) -> Imported:
    sessions = []
    for at, given in enumerate(parameters.sessions):
        try:
            lazy.chat_validation.validate("chat", {"messages": given.messages})
        except InvalidRequest as error:
            param = f"sessions[{at}].{error.param}"
            raise InvalidRequest(f"sessions[{at}].{error.message}", param=param) from None
        sessions.append(
            lazy.state_records.Session.of(
                given.session_id,
                given.messages,
                model=given.model,
                created_at=given.created_at,
                updated_at=given.updated_at,
            )
        )
    kept = await host.state.sessions.put_all(sessions)
    return Imported(success=True, imported=kept, not_kept=len(sessions) - kept)


_EXAMPLE_CARD: Final = {
    "session_id": "anna-42",
    "created_at": "2026-01-01T12:00:00Z",
    "updated_at": "2026-01-01T12:05:00Z",
    "message_count": 2,
    "model": "qwen",
    "size_bytes": 104,
}
_EXAMPLE_MESSAGES: Final = [
    {"role": "user", "content": "My name is Anna."},
    {"role": "assistant", "content": "Hello Anna! How can I help?"},
]
_EXAMPLE_EXPORT: Final = {
    "version": 1,
    "sessions": [
        {
            "session_id": "anna-42",
            "created_at": "2026-01-01T12:00:00Z",
            "updated_at": "2026-01-01T12:05:00Z",
            "model": "qwen",
            "messages": _EXAMPLE_MESSAGES,
        }
    ],
}
LIST_SESSIONS: Final = Operation(
    name="list-sessions",
    summary="List the sessions, the most recently used first",
    work=_list,
    route=HttpRoute(method="GET", path="/v1/sessions"),
    command="list",
    area="sessions",
    errors=(DatabaseUnavailable,),
    audited=("limit", "before"),
    example={"limit": 20},
    answer={"sessions": [_EXAMPLE_CARD], "total": 1},
)
SHOW_SESSION: Final = Operation(
    name="show-session",
    summary="Show a session with its messages",
    work=_show,
    route=HttpRoute(method="GET", path="/v1/sessions/{session_id}"),
    command="show",
    area="sessions",
    errors=(SessionNotFound, DatabaseUnavailable),
    audited=("session_id",),
    example={"session_id": "anna-42"},
    answer={**_EXAMPLE_CARD, "messages": _EXAMPLE_MESSAGES},
)
DELETE_SESSION: Final = Operation(
    name="delete-session",
    summary="Delete a session",
    work=_delete,
    route=HttpRoute(method="DELETE", path="/v1/sessions/{session_id}"),
    command="rm",
    area="sessions",
    errors=(SessionNotFound, DatabaseUnavailable),
    audited=("session_id",),
    example={"session_id": "anna-42"},
    answer={
        "success": True,
        "session_id": "anna-42",
        "messages": 2,
        "space_freed_bytes": 104,
    },
)
EXPORT_SESSIONS: Final = Operation(
    name="export-sessions",
    summary="Export one or all sessions with their messages",
    work=_export,
    # Not with GET: there it would be the session called "export".
    route=HttpRoute(method="POST", path="/v1/sessions/export"),
    command="export",
    only_reads=True,
    area="sessions",
    errors=(SessionNotFound, DatabaseUnavailable),
    audited=("session_id",),
    example={"session_id": "anna-42"},
    answer=_EXAMPLE_EXPORT,
)
IMPORT_SESSIONS: Final = Operation(
    name="import-sessions",
    summary="Import sessions, replacing those with the same ids",
    work=_import,
    route=HttpRoute(method="POST", path="/v1/sessions/import"),
    command="import",
    area="sessions",
    errors=(DatabaseUnavailable,),
    audited=("version",),
    example=_EXAMPLE_EXPORT,
    answer={"success": True, "imported": 1, "not_kept": 0},
)
