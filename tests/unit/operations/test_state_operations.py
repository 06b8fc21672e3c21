"""The operations on sessions, saved states and the audit log, against a real database and models in memory."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelhost.errors import InvalidRequest, SessionNotFound, StateDamaged, StateNotFound, UnsupportedParameter
from modelhost.operations.audit import GET_AUDIT
from modelhost.operations.operation import AnyOperation
from modelhost.operations.sessions import DELETE_SESSION, EXPORT_SESSIONS, IMPORT_SESSIONS, LIST_SESSIONS, SHOW_SESSION
from modelhost.operations.state import CLEAR, LIST_STATES, LOAD, SAVE, STATE_SUMMARY
from modelhost.operations.table import MODEL_OPERATIONS, SESSION_OPERATIONS, STATE_OPERATIONS, TOOL_OPERATIONS
from modelhost.state.records import AuditEntry, Session
from tests.unit.operations.fake_state import FakeModel, FakeStateHost, state_host

OURS = (*SESSION_OPERATIONS, *STATE_OPERATIONS, GET_AUDIT)
SEED_PARAMETERS = {
    "save-state": {"session_id", "include_models", "include_conversations", "include_metrics", "compression"},
    "load-state": {"session_id", "state_id", "restore_models", "restore_conversations"},
    "clear-state": {"session_id", "older_than_hours", "include_models", "include_conversations"},
}
SEED_FIELDS = {
    "save-state": {"success", "session_id", "state_id", "size_bytes", "timestamp"},
    "load-state": {"success", "session_id", "restored", "timestamp"},
    "clear-state": {"success", "cleared_items", "space_freed_bytes"},
}


async def run(host: FakeStateHost, operation: AnyOperation, /, **values: Any) -> Any:
    return await operation.run(host, operation.parse(values))


@pytest.mark.parametrize("operation", OURS, ids=lambda operation: operation.name)
def test_the_examples_of_an_operation_are_what_it_takes_and_gives(operation: AnyOperation) -> None:
    assert operation.parse(operation.example)
    assert operation.result.model_validate(operation.example_answer).model_dump(mode="json") == operation.example_answer


@pytest.mark.parametrize(
    "before",
    [
        "2026-01-01T12:00:00",
        "2026-01-01",
        "0.5",
        "20260101",
        5,
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_a_time_that_has_no_zone_or_none_in_utc_is_refused(before: Any) -> None:
    with pytest.raises(InvalidRequest, match="Input should") as raised:
        GET_AUDIT.parse({"before": before})
    assert raised.value.param == "before"


def test_a_time_is_taken_in_utc() -> None:
    at = GET_AUDIT.parse({"before": "2026-01-01T12:00:00+02:00"}).before
    assert (at, at.utcoffset()) == (datetime(2026, 1, 1, 10, tzinfo=UTC), timedelta(0))


def test_the_version_of_an_export_is_a_number() -> None:
    with pytest.raises(InvalidRequest, match="Input should be 1"):
        IMPORT_SESSIONS.parse({"version": True, "sessions": []})


@pytest.mark.promise("vllm-crush.save-state")
@pytest.mark.parametrize("name", SEED_FIELDS)
def test_the_names_that_clients_of_the_state_server_know_are_all_there(name: str) -> None:
    (operation,) = [each for each in STATE_OPERATIONS if each.name == name]
    assert set(operation.parameters.model_fields) >= SEED_PARAMETERS[name]
    assert set(operation.result.model_fields) >= SEED_FIELDS[name]
    restored = operation.result.model_fields.get("restored")
    if restored is not None and restored.annotation is not None:
        assert set(restored.annotation.model_fields) == {"models", "conversations", "configurations"}


def test_no_two_operations_share_a_name_a_place_or_the_name_of_a_schema() -> None:
    every = (*MODEL_OPERATIONS, *TOOL_OPERATIONS, *OURS)
    assert len({operation.name for operation in every}) == len(every)
    places = [operation.route for operation in every if operation.route]
    assert len(set(places)) == len(places)
    schemas = {model for operation in every for model in (operation.parameters, operation.result)}
    assert len({model.__name__ for model in schemas}) == len(schemas)


def test_the_audit_log_keeps_neither_secrets_nor_what_was_said() -> None:
    contents = {"sessions", "messages", "arguments", "content", "uri", "values"}
    for operation in (*MODEL_OPERATIONS, *TOOL_OPERATIONS, *OURS):
        assert not contents.intersection(operation.audited), operation.name
        aliases = {"model", "model_id"}
        assert set(operation.audited) - aliases <= set(operation.parameters.model_fields), operation.name
    kept = IMPORT_SESSIONS.audited_in({"version": 1, "sessions": ["said"], "api_key": "secret"})
    assert kept == {"version": 1}
    assert SHOW_SESSION.audited_in({"session_id": "x" * 2000}) == {"session_id": "(2002 characters)"}


# Sessions.


async def test_sessions_are_listed_and_shown(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("first", "Hi", "Hello")
        await host.say("second", "Hi")
        listed = await run(host, LIST_SESSIONS, limit="1")
        assert ([card.session_id for card in listed.sessions], listed.total) == (["second"], 2)
        older = await run(host, LIST_SESSIONS, before=listed.sessions[0].updated_at.isoformat())
        assert [card.session_id for card in older.sessions] == ["first"]
        shown = await run(host, SHOW_SESSION, session_id="first")
        assert shown.messages == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        assert (shown.message_count, shown.model) == (2, "qwen")


async def test_a_deleted_session_is_gone(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("mine", "Hi", "Hello")
        deleted = await run(host, DELETE_SESSION, session_id="mine")
        assert (deleted.messages, deleted.space_freed_bytes > 0) == (2, True)
        for operation in (SHOW_SESSION, DELETE_SESSION, EXPORT_SESSIONS):
            with pytest.raises(SessionNotFound):
                await run(host, operation, session_id="mine")


async def test_what_is_exported_can_be_imported_into_another_host(tmp_path: Path) -> None:
    async with state_host(tmp_path / "a") as one, state_host(tmp_path / "b") as other:
        await one.say("mine", "Hi", "Hello")
        await one.say("yours", "Hi")
        await other.say("mine", "something else")
        exported = (await run(one, EXPORT_SESSIONS)).model_dump(mode="json")
        assert [session["session_id"] for session in exported["sessions"]] == ["yours", "mine"]
        alone = await run(one, EXPORT_SESSIONS, session_id="mine")
        assert [session.session_id for session in alone.sessions] == ["mine"]
        imported = await run(other, IMPORT_SESSIONS, **exported)
        assert (imported.imported, imported.not_kept) == (2, 0)
        assert await other.texts("mine") == ["Hi", "Hello"]
        assert (await run(other, EXPORT_SESSIONS)).model_dump(mode="json") == exported


@pytest.mark.parametrize(
    ("values", "param"),
    [
        (
            {"sessions": [{"session_id": "s", "messages": [{"role": "king", "content": "x"}]}]},
            "sessions[0].messages[0].role",
        ),
        ({"sessions": [{"session_id": "s", "messages": []}]}, "sessions.0.messages"),
        ({"sessions": [{"session_id": "", "messages": [{"role": "user", "content": "x"}]}]}, "sessions.0.session_id"),
        ({"version": 2, "sessions": []}, "version"),
    ],
    ids=["role", "empty", "id", "version"],
)
async def test_an_import_takes_all_or_nothing(tmp_path: Path, values: dict[str, Any], param: str) -> None:
    good = {"session_id": "good", "messages": [{"role": "user", "content": "x"}]}
    async with state_host(tmp_path) as host:
        with pytest.raises(InvalidRequest) as caught:
            await run(host, IMPORT_SESSIONS, **{**values, "sessions": [*values["sessions"], good]})
        assert caught.value.param == param
        assert await host.state.sessions.count() == 0


@pytest.mark.promise("vllm-mcp.sessions.limit")
async def test_sessions_over_the_limit_are_told(tmp_path: Path) -> None:
    sessions = [{"session_id": str(n), "messages": [{"role": "user", "content": "x"}]} for n in range(5)]
    async with state_host(tmp_path, max_sessions=3) as host:
        imported = await run(host, IMPORT_SESSIONS, sessions=sessions)
    assert (imported.imported, imported.not_kept) == (3, 2)


# Saved states.


async def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("mine", "Hi", "Hello")
        host.collection.replace_overrides("qwen", {"max_tokens": 9})
        saved = await run(host, SAVE, session_id="label", include_metrics=True)
        assert (saved.models, saved.conversations, saved.configurations, saved.prompt_caches) == (1, 1, 1, 1)
        await host.say("mine", "Forget this.")
        await host.say("yours", "Stays.")
        host.collection.replace_overrides("qwen", {"max_tokens": 1, "seed": 4})
        loaded = await run(host, LOAD, session_id="label")
        assert loaded.restored.model_dump() == {"models": 1, "conversations": 1, "configurations": 1}
        assert (loaded.success, loaded.state_id, loaded.prompt_caches) == (True, saved.state_id, 1)
        assert await host.texts("mine") == ["Hi", "Hello"]
        assert await host.texts("yours") == ["Stays."]
        assert host.collection.active.overrides == {"max_tokens": 9}


async def test_only_what_is_asked_for_is_saved_and_restored(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("mine", "Hi")
        nothing = await run(host, SAVE, include_models=False, include_conversations=False, compression=False)
        assert (nothing.session_id, nothing.models, nothing.conversations) == ("default", 0, 0)
        await run(host, SAVE)
        await host.state.sessions.delete("mine")
        loaded = await run(host, LOAD, restore_conversations=False)
        assert loaded.restored.model_dump() == {"models": 1, "conversations": 0, "configurations": 0}
        assert await host.state.sessions.count() == 0
        loaded = await run(host, LOAD, restore_models=False)
        assert loaded.restored.model_dump() == {"models": 0, "conversations": 1, "configurations": 0}
        loaded = await run(host, LOAD, state_id=nothing.state_id)
        assert loaded.restored.model_dump() == {"models": 0, "conversations": 0, "configurations": 0}


async def test_models_are_loaded_in_the_background_and_get_their_caches_then(tmp_path: Path) -> None:
    async with state_host(tmp_path, FakeModel("qwen", worker=object())) as host:
        await host.say("mine", "Hi", "Hello")
        await run(host, SAVE)
    model = FakeModel("qwen")
    async with state_host(tmp_path, FakeModel("other", worker=object()), model) as host:
        loaded = await run(host, LOAD)
        assert (loaded.restored.models, loaded.loading_models, loaded.prompt_caches) == (1, ["qwen"], 0)
        assert host.collection.active is model
        model.may_load.set()
        loaded = await run(host, LOAD, wait=True)
        assert (loaded.loading_models, loaded.prompt_caches) == ([], 1)
        assert set(host.collection.restored) == {("qwen", "Hi")}


async def test_models_that_are_missing_or_fail_are_told(tmp_path: Path) -> None:
    models = [FakeModel(name, worker=object()) for name in ("a", "b", "c")]
    async with state_host(tmp_path, *models) as host:
        await run(host, SAVE)
    failing = FakeModel("b", fails=True)
    failing.may_load.set()
    async with state_host(tmp_path, FakeModel("a", worker=object()), failing) as host:
        loaded = await run(host, LOAD, wait=True)
    assert (loaded.success, loaded.restored.models) == (False, 1)
    assert (loaded.failed_models, loaded.missing_models) == (["b"], ["c"])


async def test_models_that_clients_had_added_are_added_again(tmp_path: Path) -> None:
    hub = [FakeModel("org/used", worker=object()), FakeModel("org/idle"), FakeModel("org/gone")]
    async with state_host(tmp_path) as host:
        host.collection.hub = hub
        for model in hub:
            await host.collection.find_or_add(model.name, on_progress=lambda _: None)
        await run(host, SAVE)
    again = [FakeModel("org/used"), FakeModel("org/idle")]
    again[0].may_load.set()
    async with state_host(tmp_path) as host:
        host.collection.hub = again
        loaded = await run(host, LOAD, wait=True)
        assert [model.name for model in host.collection.models] == ["qwen", "org/used", "org/idle"]
    assert (loaded.restored.models, loaded.missing_models) == (2, ["org/gone"])
    assert (again[0].worker is None, again[1].worker) == (False, None)


async def test_caches_are_looked_for_in_the_newest_conversations_of_loaded_models_only(tmp_path: Path) -> None:
    async with state_host(tmp_path, FakeModel("qwen", worker=object(), slots=2), FakeModel("cold")) as host:
        await host.say("oldest", "1")
        await host.say("older", "2")
        await host.say("cold", "3", model="cold")
        await host.say("gone", "4", model="gone")
        await host.say("unknown", "5", model=None)
        await host.say("newest", "not in a slot")
        assert (await run(host, SAVE)).prompt_caches == 1
        assert host.collection.asked_for_caches == ["qwen", "qwen"]


async def test_a_cache_that_is_damaged_or_gone_is_left_out(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("mine", "Hi")
        await run(host, SAVE)
        (file,) = (tmp_path / "prompt-caches").iterdir()
        file.write_text("Ho", "utf-8")
        loaded = await run(host, LOAD)
        assert (loaded.success, loaded.prompt_caches, loaded.restored.conversations) == (True, 0, 1)
        file.unlink()
        assert (await run(host, LOAD)).prompt_caches == 0
    assert not host.collection.restored


async def test_a_damaged_state_is_refused_whole(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("mine", "Hi")
        saved = await run(host, SAVE)
        await host.say("mine", "since then")
        database = sqlite3.connect(tmp_path / "modelhost.db")
        with database:
            database.execute("update snapshots set content = substr(content, 1, length(content) - 3)")
        database.close()
        with pytest.raises(StateDamaged):
            await run(host, LOAD, state_id=saved.state_id)
        assert await host.texts("mine") == ["Hi", "since then"]


async def test_states_are_listed_and_summed_up_under_their_names(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("mine", "Hi")
        states = [(await run(host, SAVE, session_id=label)).state_id for label in ("mine", "other", "mine")]
        listed = (await run(host, LIST_STATES)).sessions
        assert [(each.session_id, [state.state_id for state in each.states]) for each in listed] == [
            ("mine", [states[2], states[0]]),
            ("other", [states[1]]),
        ]
        summary = await run(host, STATE_SUMMARY, session_id="mine")
        assert (summary.latest.state_id, len(summary.states), summary.conversation.message_count) == (states[2], 2, 1)
        assert summary.size_bytes == sum(state.size_bytes for state in summary.states) == listed[0].size_bytes
        assert (await run(host, STATE_SUMMARY, session_id="other")).conversation is None
        for operation in (STATE_SUMMARY, LOAD):
            with pytest.raises(StateNotFound):
                await run(host, operation, session_id="nothing")


@pytest.mark.promise("vllm-crush.clear-state")
async def test_clearing_takes_what_matches(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        old = datetime.now(UTC) - timedelta(hours=30)
        await host.state.sessions.put(Session.of("old", [{"role": "user", "content": "x"}], updated_at=old))
        await host.say("mine", "Hi")
        await host.say("other", "Hi")
        assert (await run(host, CLEAR, older_than_hours=24)).cleared_items == 1
        with pytest.raises(SessionNotFound):
            await host.texts("old")
        saved = await run(host, SAVE, session_id="mine")
        listed = (await run(host, LIST_STATES)).sessions[0].size_bytes
        files = sum(file.stat().st_size for file in (tmp_path / "prompt-caches").iterdir())
        assert saved.size_bytes == listed > files > 0
        own = (await host.state.sessions.get("mine")).size_bytes
        cleared = await run(host, CLEAR, session_id="mine", include_models=True)
        assert (cleared.success, cleared.space_freed_bytes) == (True, saved.size_bytes + own)
        assert (await run(host, LIST_STATES)).sessions == []
        assert await host.texts("other") == ["Hi"]
        assert not list((tmp_path / "prompt-caches").iterdir())


async def test_nothing_is_older_than_anything_can_be(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        assert (await run(host, CLEAR, older_than_hours=1e12)).cleared_items == 0


@pytest.mark.promise("vllm-crush.clear-state")
async def test_clearing_conversations_leaves_the_models_of_saved_states(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        await host.say("mine", "Hi")
        await run(host, SAVE)
        await run(host, CLEAR)
        assert await host.state.sessions.count() == 0
        ((state,),) = [each.states for each in (await run(host, LIST_STATES)).sessions]
        assert (state.models, state.conversations) == (1, 0)
        assert (await run(host, CLEAR, include_models=True, include_conversations=False)).cleared_items == 1
        assert (await run(host, CLEAR, include_conversations=False)).cleared_items == 0


async def test_a_parameter_of_another_kind_is_refused() -> None:
    with pytest.raises(UnsupportedParameter):
        SAVE.parse({"name": "x"})
    with pytest.raises(InvalidRequest):
        CLEAR.parse({"older_than_hours": -1})


# The audit log.


async def test_the_audit_log_is_read_with_filters(tmp_path: Path) -> None:
    async with state_host(tmp_path) as host:
        for operation, actor, outcome in (("a", "anna", "ok"), ("b", "anna", "model_busy"), ("b", "berta", "ok")):
            host.state.audit.note(
                AuditEntry(
                    at=datetime.now(UTC),
                    actor=actor,
                    face="http",
                    operation=operation,
                    arguments={"model_id": "qwen"},
                    outcome=outcome,
                    duration_ms=1.5,
                )
            )
        every = (await run(host, GET_AUDIT)).entries
        assert [(entry.operation, entry.actor) for entry in every] == [("b", "berta"), ("b", "anna"), ("a", "anna")]
        assert len((await run(host, GET_AUDIT, limit="2")).entries) == 2
        (busy,) = (await run(host, GET_AUDIT, actor="anna", operation="b", outcome="model_busy")).entries
        assert (busy.face, busy.arguments, busy.duration_ms) == ("http", {"model_id": "qwen"}, 1.5)
        assert len((await run(host, GET_AUDIT, before=every[0].at.isoformat())).entries) == 2
