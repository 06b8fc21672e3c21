"""The operations on saved states: their parameters, results and declarations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from modelhost.config.value_types import NewSessionId, SessionId
from modelhost.errors import DatabaseUnavailable, SessionNotFound, StateDamaged, StateNotFound
from modelhost.operations.operation import HttpRoute, NoParameters, OnProgress, Operation, Parameters, Result
from modelhost.operations.sessions import SessionCard, session_card

if TYPE_CHECKING:
    from modelhost.host import Host
    from modelhost.state.records import SnapshotInfo


DEFAULT_LABEL = "default"


class SaveParameters(Parameters):
    """What to save."""

    session_id: NewSessionId = Field(default=DEFAULT_LABEL, description="The name of the saved state, of your choice.")
    include_models: bool = Field(default=True, description="Include the loaded models and their configuration.")
    include_conversations: bool = Field(
        default=True, description="Include all sessions and, if the engine supports it, their prompt caches."
    )
    include_metrics: bool = Field(default=False, description="Include the current metrics, for reference.")
    compression: bool = Field(default=True, description="Compress the saved state with Zstandard.")


class RestoreParameters(Parameters):
    """What to restore."""

    session_id: SessionId | None = Field(
        default=None, description="The name of the saved state; if there are several, the newest. Default: any."
    )
    state_id: Annotated[str, Field(min_length=1)] | None = Field(default=None, description="The id of one saved state.")
    restore_models: bool = Field(default=True, description="Load the models with their saved configuration.")
    restore_conversations: bool = Field(default=True, description="Restore the sessions.")
    wait: bool = Field(default=False, description="Answer only when the models are loaded.")


class ClearParameters(Parameters):
    """What to clear. Without `session_id` and `older_than_hours` everything of the kinds that are included."""

    session_id: SessionId | None = Field(
        default=None, description="Only the session with this id, and states saved under this name."
    )
    older_than_hours: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Only sessions last used, and states saved, more than this many hours ago.",
    )
    include_models: bool = Field(default=False, description="Clear the models in saved states.")
    include_conversations: bool = Field(
        default=True, description="Clear sessions, and the conversations in saved states."
    )


class OneLabel(Parameters):
    """A name under which states are saved."""

    session_id: SessionId


class StateReport(Result):
    """One saved state."""

    state_id: str
    session_id: str
    created_at: datetime
    size_bytes: int = Field(description="Its size in the database and of its prompt caches.")
    schema_version: int = Field(description="Version of the format.")
    compression: str = Field(description="`zstd` or `none`.")
    models: int
    conversations: int
    configurations: int = Field(description="Number of models with their own configuration.")
    has_metrics: bool


class Saved(Result):
    """A state that was saved."""

    success: bool
    session_id: str
    state_id: str
    size_bytes: int = Field(description="Its size in the database and of its prompt caches.")
    timestamp: datetime
    models: int
    conversations: int
    configurations: int
    prompt_caches: int = Field(description="Number of conversations with a saved prompt cache.")


class RestoredCounts(Result):
    """How much was restored."""

    models: int = Field(description="Number of restored models, loaded or loading.")
    conversations: int
    configurations: int


class Restored(Result):
    """A state that was restored."""

    success: bool
    session_id: str
    state_id: str
    restored: RestoredCounts
    timestamp: datetime
    loading_models: list[str] = Field(description="Models that are still loading.")
    failed_models: list[str] = Field(description="Models that could not be loaded, if the answer waited for them.")
    missing_models: list[str] = Field(description="Models in the saved state that this host does not have.")
    prompt_caches: int = Field(description="Number of restored prompt caches; more may follow.")


class Cleared(Result):
    """What is gone."""

    success: bool
    cleared_items: int = Field(description="Number of cleared sessions, saved states and parts of them.")
    space_freed_bytes: int = Field(
        description="The size of the cleared sessions and saved states, according to their `size_bytes`."
    )


class SavedSession(Result):
    """What is saved under one name."""

    session_id: str
    states: list[StateReport] = Field(description="The saved states, the newest first.")
    size_bytes: int


class SavedSessions(Result):
    """All saved states by their names, the name of the newest first."""

    sessions: list[SavedSession]


class StateSummary(Result):
    """What is there under one name: saved states, and a session of that id."""

    session_id: str
    latest: StateReport | None
    states: list[StateReport] = Field(description="The saved states, the newest first.")
    size_bytes: int
    conversation: SessionCard | None = Field(description="The current session.")


async def _save(host: Host, parameters: SaveParameters, _on_progress: OnProgress) -> Saved:
    info, prompt_caches = await host.persistence.save(
        parameters.session_id,
        models=parameters.include_models,
        conversations=parameters.include_conversations,
        metrics=parameters.include_metrics,
        compression=parameters.compression,
    )
    return Saved(
        success=True,
        session_id=info.session_id,
        state_id=info.state_id,
        size_bytes=info.size_bytes,
        timestamp=info.created_at,
        models=info.models,
        conversations=info.conversations,
        configurations=info.configurations,
        prompt_caches=prompt_caches,
    )


async def _load(host: Host, parameters: RestoreParameters, _on_progress: OnProgress) -> Restored:
    state = await host.persistence.load(
        label=parameters.session_id,
        state_id=parameters.state_id,
        models=parameters.restore_models,
        conversations=parameters.restore_conversations,
        wait=parameters.wait,
    )
    return Restored(
        success=not state.failed_models,
        session_id=state.info.session_id,
        state_id=state.info.state_id,
        restored=RestoredCounts(
            models=state.models, conversations=state.conversations, configurations=state.configurations
        ),
        timestamp=state.info.created_at,
        loading_models=list(state.loading_models),
        failed_models=list(state.failed_models),
        missing_models=list(state.missing_models),
        prompt_caches=state.prompt_caches,
    )


async def _clear(host: Host, parameters: ClearParameters, _on_progress: OnProgress) -> Cleared:
    removed = await host.persistence.clear(
        label=parameters.session_id,
        older_than_hours=parameters.older_than_hours,
        models=parameters.include_models,
        conversations=parameters.include_conversations,
    )
    return Cleared(success=True, cleared_items=removed.items, space_freed_bytes=removed.bytes)


async def _list(host: Host, _parameters: NoParameters, _on_progress: OnProgress) -> SavedSessions:
    by_label: dict[str, list[StateReport]] = {}
    for info in await host.state.snapshots.list():
        by_label.setdefault(info.session_id, []).append(_report(info))
    return SavedSessions(
        sessions=[
            SavedSession(session_id=label, states=states, size_bytes=_size(states))
            for label, states in by_label.items()
        ]
    )


def _report(info: SnapshotInfo) -> StateReport:
    return StateReport.model_validate(info, from_attributes=True)


def _size(states: list[StateReport]) -> int:
    return sum(state.size_bytes for state in states)


async def _summary(host: Host, parameters: OneLabel, _on_progress: OnProgress) -> StateSummary:
    states = [_report(info) for info in await host.state.snapshots.list(parameters.session_id)]
    conversation = await _conversation(host, parameters.session_id)
    if not states and conversation is None:
        raise StateNotFound(
            f'No saved state has the name "{parameters.session_id}", and there is no session of that id.',
            param="session_id",
        )
    return StateSummary(
        session_id=parameters.session_id,
        latest=states[0] if states else None,
        states=states,
        size_bytes=_size(states),
        conversation=conversation,
    )


async def _conversation(host: Host, session_id: str) -> SessionCard | None:
    try:
        return session_card(await host.state.sessions.get(session_id))
    except SessionNotFound:
        return None


_EXAMPLE: Final = {
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
SAVE: Final = Operation(
    name="save-state",
    summary="Save the state of models and sessions, and optionally the metrics",
    work=_save,
    route=HttpRoute(method="POST", path="/v1/state/save"),
    command="save",
    area="state",
    errors=(DatabaseUnavailable,),
    audited=("session_id", "include_models", "include_conversations", "include_metrics", "compression"),
    example={
        "session_id": "before-the-update",
        "include_models": True,
        "include_conversations": True,
        "include_metrics": False,
        "compression": True,
    },
    answer={
        "success": True,
        "session_id": "before-the-update",
        "state_id": "state-3f9c1a77b2e0",
        "size_bytes": 20480,
        "timestamp": "2026-01-01T12:10:00Z",
        "models": 2,
        "conversations": 5,
        "configurations": 1,
        "prompt_caches": 1,
    },
)
LOAD: Final = Operation(
    name="load-state",
    summary="Restore a saved state",
    work=_load,
    route=HttpRoute(method="POST", path="/v1/state/load"),
    command="load",
    area="state",
    errors=(StateNotFound, StateDamaged, DatabaseUnavailable),
    audited=("session_id", "state_id", "restore_models", "restore_conversations", "wait"),
    example={
        "session_id": "before-the-update",
        "state_id": "state-3f9c1a77b2e0",
        "restore_models": True,
        "restore_conversations": True,
        "wait": False,
    },
    answer={
        "success": True,
        "session_id": "before-the-update",
        "state_id": "state-3f9c1a77b2e0",
        "restored": {"models": 2, "conversations": 5, "configurations": 1},
        "timestamp": "2026-01-01T12:10:00Z",
        "loading_models": ["qwen"],
        "failed_models": [],
        "missing_models": [],
        "prompt_caches": 0,
    },
)
CLEAR: Final = Operation(
    name="clear-state",
    summary="Clear all or matching sessions and saved states",
    work=_clear,
    route=HttpRoute(method="POST", path="/v1/state/clear"),
    command="clear",
    area="state",
    errors=(DatabaseUnavailable,),
    audited=("session_id", "older_than_hours", "include_models", "include_conversations"),
    example={"older_than_hours": 24.0, "include_models": False, "include_conversations": True},
    answer={"success": True, "cleared_items": 15, "space_freed_bytes": 20480},
)
LIST_STATES: Final = Operation(
    name="list-states",
    summary="List the saved states by name",
    work=_list,
    route=HttpRoute(method="GET", path="/v1/state/sessions"),
    command="list",
    area="state",
    errors=(DatabaseUnavailable,),
    answer={"sessions": [{"session_id": "before-the-update", "states": [_EXAMPLE], "size_bytes": 20480}]},
)
STATE_SUMMARY: Final = Operation(
    name="state-summary",
    summary="Show the saved states and the session of a name",
    work=_summary,
    route=HttpRoute(method="GET", path="/v1/state/sessions/{session_id}/summary"),
    area="state",
    errors=(StateNotFound, DatabaseUnavailable),
    audited=("session_id",),
    example={"session_id": "before-the-update"},
    answer={
        "session_id": "before-the-update",
        "latest": _EXAMPLE,
        "states": [_EXAMPLE],
        "size_bytes": 20480,
        "conversation": None,
    },
)
