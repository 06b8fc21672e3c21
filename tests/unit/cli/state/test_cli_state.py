"""`modelhost sessions`, `modelhost state` and `modelhost audit`, against a host in memory with a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from modelhost.cli import state as sessions_commands
from modelhost.cli.main import app
from modelhost.errors import ConfigError, InvalidRequest, SessionNotFound, StateNotFound
from modelhost.operations.audit import GET_AUDIT
from modelhost.operations.operation import AnyOperation
from modelhost.operations.table import SESSION_OPERATIONS, STATE_OPERATIONS
from modelhost.state.records import AuditEntry
from tests.support.fake_server import Served
from tests.unit.operations.fake_state import FakeModel, FakeStateHost

Run = Callable[..., Result]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    # Its log would go to the standard output that the commands write to.
    monkeypatch.setattr("modelhost.http.admin.operations.log", SimpleNamespace(info=lambda *_, **__: None))
    failing = FakeModel("failing", worker=object())
    server = Served(FakeStateHost(tmp_path / "data", FakeModel("qwen", worker=object()), failing))
    yield server
    server.run(server.host.persistence.stop())
    server.run(server.host.state.close())
    server.stop()


@pytest.fixture
def host(served: Served) -> FakeStateHost:
    found: FakeStateHost = served.host
    served.run(found.say("mine", "My name is\nAnna. \x1b[31m", "Hello Anna!"))
    return found


@pytest.fixture
def run(served: Served) -> Run:
    def invoke(*words: str, given: str | None = None) -> Result:
        result = CliRunner().invoke(app, [*words, "--url", served.url], input=given)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.mark.parametrize("operation", [*SESSION_OPERATIONS, *STATE_OPERATIONS], ids=lambda each: each.name)
def test_every_command_has_the_summary_of_its_operation(operation: AnyOperation) -> None:
    if operation.command is not None:
        shown = CliRunner().invoke(app, [operation.area, operation.command, "--help"], env={"COLUMNS": "200"}).output
        assert operation.summary in " ".join(shown.split())


@pytest.mark.parametrize("words", [["state", "save"], ["state", "load"], ["state", "clear"], ["audit"]], ids=" ".join)
def test_every_parameter_is_an_option(words: list[str]) -> None:
    operation = next(each for each in (*STATE_OPERATIONS, GET_AUDIT) if each is GET_AUDIT or each.command == words[-1])
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output
    for name in operation.parameters.model_fields:
        assert ("SESSION" if name == "session_id" else f"--{name.replace('_', '-')}") in shown


@pytest.mark.usefixtures("host")
def test_sessions_are_listed_and_shown(run: Run) -> None:
    heading, line = run("sessions", "list").output.splitlines()
    assert heading.split() == ["Session", "Last", "used", "Model", "Messages", "Size"]
    assert (line.split()[0], line.split()[3], line.split()[4]) == ("mine", "qwen", "2")
    assert json.loads(run("sessions", "list", "--json", "--limit", "5").output)["total"] == 1
    assert run("sessions", "show", "mine").output == "user: My name is\nAnna.  [31m\nassistant: Hello Anna!\n"
    assert json.loads(run("sessions", "show", "mine", "--json").output)["message_count"] == 2


def test_calls_and_results_are_shown(run: Run, served: Served, host: FakeStateHost) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}

    custom = {"id": "2", "type": "custom", "custom": {"name": "code", "input": "print(1)"}}

    async def append() -> None:
        async with host.state.sessions.hold("tools") as held:
            await held.append(
                [
                    {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image_url"}]},
                    {"role": "assistant", "content": None, "tool_calls": [call, custom]},
                    {"role": "tool", "tool_call_id": "1", "content": "sunny"},
                ]
            )

    served.run(append())
    assert run("sessions", "show", "tools").output.splitlines() == [
        "user: Look: [image_url]",
        'assistant calls weather: {"city": "Rome"}',
        "assistant calls code: print(1)",
        "tool: sunny",
    ]


def test_without_sessions_that_is_what_is_said(run: Run) -> None:
    for words in (["sessions", "list"], ["state", "list"], ["audit", "--actor", "nobody"]):
        assert run(*words).stdout == ""
        assert run(*words).stderr


@pytest.mark.usefixtures("host")
def test_removed_sessions_are_gone(run: Run) -> None:
    assert "2 messages deleted" in run("sessions", "rm", "mine").stderr
    with pytest.raises(SessionNotFound):
        run("sessions", "rm", "mine")
    with pytest.raises(SessionNotFound):
        run("sessions", "show", "mine")


@pytest.mark.usefixtures("host")
def test_an_export_is_imported_again_in_pieces(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sessions.json"
    assert f"1 sessions written to {file}" in run("sessions", "export", "--output", str(file)).stderr
    exported = json.loads(file.read_text("utf-8"))
    assert json.loads(run("sessions", "export", "mine").stdout) == exported
    exported["sessions"] += [{**exported["sessions"][0], "session_id": f"copy {number}"} for number in range(5)]
    monkeypatch.setattr(sessions_commands, "BATCH_BYTES", 500)
    assert "6 sessions imported" in run("sessions", "import", "-", given=json.dumps(exported)).stderr
    assert json.loads(run("sessions", "list", "--json").output)["total"] == 6
    run("sessions", "rm", "mine")
    run("sessions", "import", str(file))
    assert "Anna" in run("sessions", "show", "mine").output


@pytest.mark.parametrize("text", ["{", "[]", "[" * 5000, None], ids=["broken", "a list", "deep", "none"])
def test_what_is_no_export_is_refused(run: Run, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "sessions.json"
    if text is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"sessions\.json"):
        run("sessions", "import", str(file))
    file.write_text('{"sessions": [{"session_id": "x", "messages": []}]}', "utf-8")
    with pytest.raises(InvalidRequest):
        run("sessions", "import", str(file))


def test_a_link_that_leads_nowhere_is_described_as_such(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    file.symlink_to(tmp_path / "gone" / "there.json")
    for words in (("import", str(file)), ("export", "--output", str(file))):
        with pytest.raises(ConfigError, match=r"sessions\.json: it is a link that leads nowhere \(to .*there\.json\)"):
            run("sessions", *words)


def test_a_state_is_saved_restored_and_cleared(run: Run, served: Served, host: FakeStateHost) -> None:
    saved = run("state", "save", "label", "--include-metrics").output
    assert "2 models, 1 conversation," in saved
    state_id = saved.partition(":")[0]
    served.run(host.say("mine", "since then"))
    heading, line = run("state", "list").output.splitlines()
    assert heading.startswith("Saved as")
    assert line.split()[:2] == ["label", state_id]
    assert run("state", "load", "label").output == f"{state_id}: 2 models, 1 conversation, 0 configurations\n"
    assert "since then" not in run("sessions", "show", "mine").output
    answer = json.loads(run("state", "load", "--state-id", state_id, "--no-restore-models", "--json").output)
    assert answer["restored"] == {"models": 0, "conversations": 1, "configurations": 0}
    assert run("state", "clear", "--older-than-hours", "1").output == "0 cleared, 0 B freed\n"
    assert run("state", "clear", given="n\n").exit_code == 1
    assert "freed" in run("state", "clear", "--include-models", "--yes").output
    assert json.loads(run("state", "list", "--json").output) == {"sessions": []}
    with pytest.raises(StateNotFound):
        run("state", "load")


@pytest.mark.usefixtures("host")
def test_a_model_that_is_not_there_or_fails_is_told(run: Run, served: Served) -> None:
    run("state", "save")
    collection = served.host.collection
    model = collection.models[1]
    model.worker, model.fails = None, True
    collection.models = (model,)
    collection.active = model
    assert "still loading: failing" in run("state", "load").stderr
    served.do(model.may_load.set)
    result = run("state", "load", "--wait")
    assert result.exit_code == 1
    assert "does not have: qwen" in result.stderr
    assert "could not be loaded: failing" in result.stderr


def test_the_audit_log_is_shown(run: Run, served: Served) -> None:
    def note(operation: str, outcome: str) -> None:
        served.host.state.audit.note(
            AuditEntry(
                at=datetime.now(UTC),
                actor="anna",
                face="http",
                operation=operation,
                arguments={"model_id": "qwen", "force": True},
                outcome=outcome,
                duration_ms=1234.56,
            )
        )

    served.do(lambda: note("unload-model", "ok"))
    served.do(lambda: note("load-model", "queue_full"))
    lines = run("audit", "--actor", "anna").output.splitlines()
    assert lines[1].split()[2:] == [
        "anna",
        "http",
        "load-model",
        "queue_full",
        "1,234.6",
        "model_id=qwen",
        "force=true",
    ]
    assert len(lines) == 3
    assert "unload-model" not in run("audit", "--outcome", "queue_full").output
    entries = json.loads(run("audit", "--json", "--operation", "get-audit").output)["entries"]
    assert [entry["arguments"]["limit"] for entry in entries] == ["100", "100"]


def test_a_limit_that_is_none_is_refused(run: Run) -> None:
    with pytest.raises(InvalidRequest, match="limit"):
        run("audit", "--limit", "0")
