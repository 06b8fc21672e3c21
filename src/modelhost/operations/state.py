"""The operations on saved states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelhost.errors import DatabaseUnavailable, SessionNotFound, StateDamaged, StateNotFound
from modelhost.operations import state_examples
from modelhost.operations.operation import AnyOperation, HttpRoute, NoParameters, OnProgress, Operation
from modelhost.operations.sessions import session_card
from modelhost.operations.state_host import StateHost
from modelhost.operations.state_values import (
    Cleared,
    ClearParameters,
    OneLabel,
    Restored,
    RestoredCounts,
    RestoreParameters,
    Saved,
    SavedSession,
    SavedSessions,
    SaveParameters,
    StateReport,
    StateSummary,
)

if TYPE_CHECKING:
    from modelhost.operations.sessions import SessionCard
    from modelhost.state.records import SnapshotInfo


async def _save(host: StateHost, asked: SaveParameters, _on_progress: OnProgress) -> Saved:
    info, prompt_caches = await host.persistence.save(
        asked.session_id,
        models=asked.include_models,
        conversations=asked.include_conversations,
        metrics=asked.include_metrics,
        compression=asked.compression,
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


async def _load(host: StateHost, asked: RestoreParameters, _on_progress: OnProgress) -> Restored:
    state = await host.persistence.load(
        label=asked.session_id,
        state_id=asked.state_id,
        models=asked.restore_models,
        conversations=asked.restore_conversations,
        wait=asked.wait,
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


async def _clear(host: StateHost, asked: ClearParameters, _on_progress: OnProgress) -> Cleared:
    removed = await host.persistence.clear(
        label=asked.session_id,
        older_than_hours=asked.older_than_hours,
        models=asked.include_models,
        conversations=asked.include_conversations,
    )
    return Cleared(success=True, cleared_items=removed.items, space_freed_bytes=removed.bytes)


async def _list(host: StateHost, _nothing: NoParameters, _on_progress: OnProgress) -> SavedSessions:
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


async def _summary(host: StateHost, asked: OneLabel, _on_progress: OnProgress) -> StateSummary:
    states = [_report(info) for info in await host.state.snapshots.list(asked.session_id)]
    conversation = await _conversation(host, asked.session_id)
    if not states and conversation is None:
        raise StateNotFound(
            f'Nothing is saved under the name "{asked.session_id}", and there is no session of that id.',
            param="session_id",
        )
    return StateSummary(
        session_id=asked.session_id,
        latest=states[0] if states else None,
        states=states,
        size_bytes=_size(states),
        conversation=conversation,
    )


async def _conversation(host: StateHost, session_id: str) -> SessionCard | None:
    try:
        return session_card(await host.state.sessions.get(session_id))
    except SessionNotFound:
        return None


SAVE: Final = Operation(
    name="save-state",
    summary="Save the models, the sessions and, if asked for, the metrics as they are now",
    parameters=SaveParameters,
    result=Saved,
    work=_save,
    route=HttpRoute(method="POST", path="/v1/state/save"),
    command="save",
    is_read_only=False,
    area="state",
    errors=(DatabaseUnavailable,),
    audited=("session_id", "include_models", "include_conversations", "include_metrics", "compression"),
    example=state_examples.SAVE,
    answer=state_examples.SAVED,
)
LOAD: Final = Operation(
    name="load-state",
    summary="Restore a saved state",
    parameters=RestoreParameters,
    result=Restored,
    work=_load,
    route=HttpRoute(method="POST", path="/v1/state/load"),
    command="load",
    is_read_only=False,
    area="state",
    errors=(StateNotFound, StateDamaged, DatabaseUnavailable),
    audited=("session_id", "state_id", "restore_models", "restore_conversations", "wait"),
    example=state_examples.LOAD,
    answer=state_examples.RESTORED,
)
CLEAR: Final = Operation(
    name="clear-state",
    summary="Clear sessions and saved states, all or those that match",
    parameters=ClearParameters,
    result=Cleared,
    work=_clear,
    route=HttpRoute(method="POST", path="/v1/state/clear"),
    command="clear",
    is_read_only=False,
    area="state",
    errors=(DatabaseUnavailable,),
    audited=("session_id", "older_than_hours", "include_models", "include_conversations"),
    example=state_examples.CLEAR,
    answer=state_examples.CLEARED,
)
LIST_STATES: Final = Operation(
    name="list-states",
    summary="List the saved states by the names under which they are saved",
    parameters=NoParameters,
    result=SavedSessions,
    work=_list,
    route=HttpRoute(method="GET", path="/v1/state/sessions"),
    command="list",
    is_read_only=True,
    area="state",
    errors=(DatabaseUnavailable,),
    example={},
    answer=state_examples.STATES,
)
STATE_SUMMARY: Final = Operation(
    name="state-summary",
    summary="Say what is saved under a name",
    parameters=OneLabel,
    result=StateSummary,
    work=_summary,
    route=HttpRoute(method="GET", path="/v1/state/sessions/{session_id}/summary"),
    command=None,
    is_read_only=True,
    area="state",
    errors=(StateNotFound, DatabaseUnavailable),
    audited=("session_id",),
    example=state_examples.LABEL,
    answer=state_examples.SUMMARY,
)
STATE_OPERATIONS: Final[tuple[AnyOperation, ...]] = (SAVE, LOAD, CLEAR, LIST_STATES, STATE_SUMMARY)
