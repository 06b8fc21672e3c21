"""The life of MCP servers: connected, lost, started again, given up, ended. All of them are real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import aclosing, suppress
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from modelhost.errors import McpServerNotFound, ToolNotFound, ToolServerUnavailable
from modelhost.tools import server as server_module
from modelhost.tools.entry import ServerEntry, StdioTransport
from modelhost.tools.failures import MAX_FAILURES
from modelhost.tools.hub import ToolHub
from modelhost.tools.names import Selection
from modelhost.tools.status import ServerState
from tests.support.eventually import eventually_async
from tests.support.mcp_peers import hub_of, stub

SRC = Path(__file__).parents[3] / "src"


async def reach(hub: ToolHub, name: str, state: ServerState, *, seconds: float = 10.0) -> None:
    """Wait until the server is in that state."""
    async with asyncio.timeout(seconds), hub.events() as listener, aclosing(listener.read()) as events:
        async for event in events:
            if event.server == name and event.state is state:
                return


def names(hub: ToolHub, server: str) -> list[str]:
    return [tool.tool for tool in hub.offered() if tool.server == server]


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def pid_of(hub: ToolHub, name: str) -> int:
    pid = hub.status(name).pid
    assert pid is not None
    return pid


async def test_starting_waits_for_nobody_and_one_that_dies_or_is_missing_disables_no_other() -> None:
    missing = ServerEntry(name="missing", transport=StdioTransport(command="/no/such/server"))
    hub = ToolHub([missing, stub("dying", behaviour={"dies_at_start": True}), stub("fine")])
    await hub.start()
    assert {status.state for status in hub.statuses()} == {ServerState.CONNECTING}
    try:
        assert await hub.settled(10)
        assert hub.status("fine").state is ServerState.READY
        assert hub.status("missing").state is ServerState.FAILED
        assert hub.status("missing").last_error == "cannot be started: No such file or directory: /no/such/server"
        await reach(hub, "dying", ServerState.FAILED)
        assert hub.status("dying").last_error == "exited with status 1; the last line of its log: cannot find my files"
        assert {tool.server for tool in hub.offered()} == {"fine"}
        assert not (await hub.call("fine_echo", {"text": "a"})).is_error
    finally:
        await hub.stop()


async def test_a_failed_server_is_ready_after_a_restart_by_hand(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    entry = stub(behaviour={"dies_at_start": True})
    async with hub_of(entry) as hub:
        await reach(hub, "stub", ServerState.FAILED)
        assert hub.status("stub").restarts == 0
        await hub.apply([stub(behaviour={"dies_once": str(mark)})])
        await reach(hub, "stub", ServerState.READY)
    async with hub_of(ServerEntry(name="late", transport=StdioTransport(command=str(mark / "none")))) as hub:
        assert hub.status("late").state is ServerState.FAILED
        await hub.restart("late")
        assert hub.status("late").state is ServerState.RESTARTING
        await reach(hub, "late", ServerState.FAILED)


async def test_a_server_in_a_crash_loop_is_given_up_after_some_starts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with capture_logs() as logs:
        async with hub_of(stub(behaviour={"dies_at_start": True, "log": str(log)})) as hub:
            await reach(hub, "stub", ServerState.FAILED)
        pauses = [entry["again_after_seconds"] for entry in logs if entry["event"] == "mcp_server_lost"]
        assert pauses == [0.1, 0.2, 0.4, 0.8, None]  # then nobody but a person starts it again
        assert log.read_text("utf-8").splitlines() == ["start"] * MAX_FAILURES
        await hub.restart("stub")
        await reach(hub, "stub", ServerState.FAILED)
        assert len(log.read_text("utf-8").splitlines()) == 2 * MAX_FAILURES


async def test_a_killed_server_comes_back_by_itself_and_keeps_its_tools_meanwhile() -> None:
    async with hub_of(stub("one"), stub("other")) as hub:
        before = hub.offered()
        os.kill(pid_of(hub, "one"), signal.SIGKILL)
        await reach(hub, "one", ServerState.RESTARTING)
        assert [tool.name for tool in hub.offered()] == [tool.name for tool in before]
        assert not (await hub.call("other_echo", {"text": "a"})).is_error
        await reach(hub, "one", ServerState.READY)
        status = hub.status("one")
        assert (status.restarts, status.last_error) == (1, "was ended by SIGKILL")


async def test_a_server_that_is_restarted_while_it_connects_has_not_been_too_slow(tmp_path: Path) -> None:
    log = tmp_path / "log"
    hub = ToolHub([stub("silent", behaviour={"answers_nothing": True, "log": str(log)})])
    await hub.start()
    try:
        await eventually_async(log.exists)
        await hub.restart("silent")
        await eventually_async(lambda: log.read_text().splitlines().count("start") == 2)
        assert hub.status("silent").last_error is None
    finally:
        await hub.stop()


async def test_a_server_that_does_not_shake_hands_in_time_is_ended() -> None:
    silent = stub("silent", behaviour={"answers_nothing": True}, connect_timeout_seconds=0.5)
    async with hub_of(silent, stub("fine")) as hub:
        assert hub.status("fine").state is ServerState.READY
        assert hub.status("silent").last_error == "did not become ready within 0.5 s"
        assert hub.status("silent").state is ServerState.RESTARTING


@pytest.mark.promise("vllm-crush.health.mcp")
async def test_a_server_that_shows_no_sign_of_life_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "IDLE_CHECK_SECONDS", 0.1)
    monkeypatch.setattr("modelhost.tools.connection.HEALTH_SECONDS", 0.2)
    async with hub_of(stub("mute", behaviour={"answers_no_ping": True}), stub("fine")) as hub:
        await reach(hub, "mute", ServerState.RESTARTING)
        await eventually_async(lambda: "no sign of life" in (hub.status("mute").last_error or ""))
        assert hub.status("fine").restarts == 0


async def test_a_modern_server_is_asked_for_a_sign_of_life_too(sdk_hub: ToolHub) -> None:
    assert sdk_hub.status("sdk").protocol_version == "2026-07-28"
    await sdk_hub.check_health("sdk")
    assert sdk_hub.status("sdk").restarts == 0


async def test_one_that_floods_its_log_and_prints_is_served_all_the_same() -> None:
    async with hub_of(stub(behaviour={"stderr_bytes": 3_000_000, "prints": True})) as hub:
        assert (await hub.call("stub_echo", {"text": "a"})).text == "a"
        stderr = hub.status("stub").stderr
        assert stderr[0].startswith("flood flood")


async def test_tools_that_change_are_listed_again(sdk_hub: ToolHub) -> None:
    async with hub_of(stub()) as hub:
        await changed(hub, "stub_change", {"text": "fresh"}, "fresh")
        assert (await hub.call("stub_fresh", {})).text == "fresh"
    await changed(sdk_hub, "strict_grow", {}, "grown")
    assert (await sdk_hub.call("strict_grown", {})).text == "new"


async def changed(hub: ToolHub, name: str, arguments: dict[str, str], new: str) -> None:
    """Make the call, and wait until there is a tool ``new``."""
    async with asyncio.timeout(60), hub.events() as listener, aclosing(listener.read()) as events:
        await hub.call(name, arguments)
        async for event in events:
            if new in names(hub, event.server):
                return


async def test_all_pages_of_500_tools_are_read() -> None:
    async with hub_of(stub(behaviour={"tools": [], "numbered": 500, "page": 40})) as hub:
        assert len(hub.offered()) == 500
        assert hub.offered() is hub.offered()
        assert not (await hub.call("stub_tool_499", {})).is_error


async def test_long_and_clashing_names_are_called_under_the_names_that_are_offered() -> None:
    long = "t" * 100
    async with hub_of(
        stub("a", behaviour={"tools": ["b_echo", long]}), stub("a_b", behaviour={"tools": ["echo"]})
    ) as hub:
        for tool in hub.offered():
            outcome = await hub.call(tool.name, {"text": tool.tool})
            assert (outcome.is_error, outcome.server, outcome.tool) == (False, tool.server, tool.tool)
        assert len({tool.name for tool in hub.offered()}) == 3


async def test_allowed_and_denied_tools_and_prefixes() -> None:
    entry = stub(prefix="p", allowed_tools=frozenset({"echo", "pid"}), denied_tools=frozenset({"pid"}))
    async with hub_of(entry) as hub:
        assert [tool.name for tool in hub.offered()] == ["p_echo"]
        assert (await hub.call("p_pid", {})).code == "tool_not_found"


async def test_a_selection_of_servers_and_tools() -> None:
    async with hub_of(stub("one"), stub("two")) as hub:
        one = hub.offered(Selection(servers=frozenset({"one"}), tools=frozenset({"echo", "one_pid", "two_pid"})))
        assert [tool.name for tool in one] == ["one_echo", "one_pid"]
        by_server = hub.offered(Selection(tools=frozenset({"two.echo", "one.pid"})))
        assert [tool.name for tool in by_server] == ["one_pid", "two_echo"]
        assert hub.offered(Selection(tools=frozenset())) == ()
        but_one = hub.offered(
            Selection(tools=frozenset({"one.*"}), denied=frozenset({"one.echo", "two.pid", "nobody"}))
        )
        assert {tool.tool for tool in hub.offered(Selection(tools=frozenset({"one.*"})))} == {
            "echo",
            *(tool.tool for tool in but_one),
        }
        with pytest.raises(McpServerNotFound, match="three"):
            hub.offered(Selection(servers=frozenset({"three"})))
        with pytest.raises(ToolNotFound, match='did you mean "one_echo"'):
            hub.offered(Selection(tools=frozenset({"one_ecko"})))


async def test_a_tool_is_found_by_server_and_name_and_by_its_own_name_if_that_is_unique() -> None:
    async with hub_of(stub("one", allowed_tools=frozenset({"echo", "pid"})), stub("two", prefix="zwei")) as hub:
        assert [hub.tool(name).name for name in ("one.echo", "two.echo", "zwei_echo", "sleep")] == [
            "one_echo",
            "zwei_echo",
            "zwei_echo",
            "zwei_sleep",
        ]
        with pytest.raises(ToolNotFound, match=r'several MCP servers have a tool "echo"; take one\.echo or two\.echo'):
            hub.tool("echo")
        with pytest.raises(ToolNotFound):
            hub.tool("one.sleep")


async def test_tools_that_run_as_tasks_only_are_not_offered() -> None:
    async with hub_of(stub(behaviour={"tools": ["echo", "pid"], "tasks_only": ["pid"]})) as hub:
        assert [tool.name for tool in hub.offered()] == ["stub_echo"]
        assert hub.status("stub").tools == 1
        assert [(each.tool, each.location, each.is_offered) for each in hub.status("stub").tool_problems] == [
            ("pid", "#/execution/taskSupport", False)
        ]
        assert (await hub.call("stub_pid", {})).code == "tool_not_found"


async def test_a_tool_is_offered_as_a_function_with_its_hints() -> None:
    async with hub_of(stub(approval="ask")) as hub:
        tool = hub.tool("stub_echo")
        assert tool.function["type"] == "function"
        assert tool.function["function"]["name"] == "stub_echo"
        assert tool.function["function"]["parameters"]["required"] == ["text"]
        assert (tool.annotations["title"], tool.is_read_only, tool.approval) == ("Echo", True, "ask")
        assert not hub.tool("stub_die").is_read_only


async def test_a_new_configuration_changes_only_what_has_changed() -> None:
    async with hub_of(stub("kept"), stub("gone"), stub("changed")) as hub:
        kept, gone, changed = pid_of(hub, "kept"), pid_of(hub, "gone"), pid_of(hub, "changed")
        await hub.apply([stub("new"), stub("kept", prefix="k"), stub("changed", behaviour={"numbered": 1})])
        assert is_gone(gone)
        assert is_gone(changed)
        assert await hub.settled(10)
        assert hub.server_names() == ("new", "kept", "changed")
        assert pid_of(hub, "kept") == kept
        assert hub.tool("k_echo").server == "kept"
        assert hub.tool("changed_tool_0").server == "changed"
        with pytest.raises(McpServerNotFound):
            hub.status("gone")


async def test_disabled_and_enabled_while_running() -> None:
    async with hub_of(stub(), stub("off", is_enabled=False)) as hub:
        assert hub.status("off").state is ServerState.DISABLED
        pid = pid_of(hub, "stub")
        await hub.disable("stub")
        assert is_gone(pid)
        assert hub.offered() == ()
        outcome = await hub.call("stub_echo", {"text": "a"})
        assert outcome.code == "tool_server_unavailable"
        assert "is disabled" in outcome.text
        await hub.enable("stub")
        await hub.enable("off")
        assert await hub.settled(10)
        assert {tool.server for tool in hub.offered()} == {"stub", "off"}


async def test_a_server_that_cannot_be_used_says_why() -> None:
    entry = ServerEntry(name="secret", transport=None, is_enabled=False, why_disabled="KEY is not set")
    async with hub_of(entry) as hub:
        assert hub.status("secret").state is ServerState.DISABLED
        assert hub.status("secret").why_disabled == "KEY is not set"
        with pytest.raises(ToolServerUnavailable, match="KEY is not set"):
            await hub.enable("secret")


async def test_the_environment_of_a_server_is_what_its_entry_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_HOST", "geheim")
    async with hub_of(stub(env={"GIVEN": "yes"})) as hub:
        text = (await hub.call("stub_env", {})).text
        assert '"GIVEN": "yes"' in text
        assert "geheim" not in text
        assert '"PATH"' in text


async def test_a_server_that_ignores_everything_is_killed_with_its_children(tmp_path: Path) -> None:
    child_file = tmp_path / "child"
    stubborn = {"ignores_sigterm": True, "ignores_end": True, "child": str(child_file)}
    async with hub_of(stub("stubborn", behaviour=stubborn)) as hub:
        pid = pid_of(hub, "stubborn")
        child = int(child_file.read_text("utf-8"))
        assert not is_gone(child)
    assert is_gone(pid)
    assert is_gone(child)


async def test_a_child_that_outlives_its_server_is_ended(tmp_path: Path) -> None:
    child_file = tmp_path / "child"
    async with hub_of(stub(behaviour={"child": str(child_file)})):
        child = int(child_file.read_text("utf-8"))
    await eventually_async(lambda: is_gone(child))


async def test_servers_end_when_the_host_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from tests.support.mcp_peers import hub_of, stub\n"
        "async def main():\n"
        "    async with hub_of(stub()) as hub:\n"
        "        print(hub.status('stub').pid, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=SRC.parent
    )
    assert host.stdout is not None
    async with asyncio.timeout(60):
        pid = int((await _pid_line(host.stdout)).strip())
    host.kill()
    await host.wait()
    await eventually_async(lambda: is_gone(pid))


async def _pid_line(stdout: asyncio.StreamReader) -> bytes:
    while line := await stdout.readline():
        if line.strip().isdigit():
            return line
    raise AssertionError("the host ended")


async def test_stopping_while_servers_connect_leaves_nothing() -> None:
    before = set(stubs())
    hub = ToolHub([stub(f"s{number}", behaviour={"start_seconds": 60}) for number in range(3)])
    await hub.start()
    await eventually_async(lambda: set(stubs()) - before)  # one at least; others are just being started
    async with asyncio.timeout(8):
        await hub.stop()
    assert {status.state for status in hub.statuses()} == {ServerState.STOPPED}
    assert set(stubs()) == before


def stubs() -> list[int]:
    """The stubs among our children that are alive."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "mcp_stub.py" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


async def test_20_servers_are_connected_side_by_side(tmp_path: Path) -> None:
    # None of them goes on before all have been started: one after the other they would never be ready.
    behaviour = {"log": str(tmp_path / "log"), "waits_for_starts": 20}
    async with hub_of(*(stub(f"s{number}", behaviour=behaviour) for number in range(20)), seconds=60) as hub:
        assert {status.state for status in hub.statuses()} == {ServerState.READY}
