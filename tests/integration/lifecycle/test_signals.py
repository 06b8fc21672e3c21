"""SIGHUP has files read anew, SIGQUIT lets everything finish, and a terminal that closes ends its host."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.forked import COMMAND
from tests.support.llm_server import environ
from tests.support.processes import is_alive
from tests.support.raw_http import read_all, read_until, send_chat
from tests.support.serving import ServedHost

StartHost = Callable[..., ServedHost]
SECONDS = 60
SERVE = [sys.executable, "-c", COMMAND, "serve", "--engine", "scripted", "--port", "0", "--log-format", "json"]


def test_drained_host_gives_what_is_at_work_all_its_time(start_host: StartHost) -> None:
    host = start_host(engine="scripted", shutdown_timeout=0.1)
    (worker,) = host.worker_pids()
    with closing(send_chat(host.url, "/tokens 60 /slow 40", stream=True)) as connection:
        read_until(connection, b"data: ")
        host.send_signal(signal.SIGQUIT)
        rest = read_all(connection)
    assert b"data: [DONE]" in rest
    assert b'"error"' not in rest
    assert host.wait() == 0
    assert not is_alive(worker)


def test_drained_host_ends_at_once_when_told_again(start_host: StartHost) -> None:
    host = start_host(engine="scripted")
    with closing(send_chat(host.url, "/hang 1", stream=True)) as connection:
        read_until(connection, b"data: ")
        host.send_signal(signal.SIGQUIT)
        eventually(lambda: host.log_events("stopping"))
        host.send_signal(signal.SIGTERM)
        assert host.wait() == 128 + signal.SIGTERM


def test_host_whose_log_nobody_reads_any_more_answers_and_ends(tmp_path: Path) -> None:
    process = subprocess.Popen([*SERVE, "--data-dir", str(tmp_path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stderr is not None
        listening = next(event for event in map(json.loads, process.stderr) if event["event"] == "listening")
        process.stderr.close()
        with httpx2.Client(base_url=listening["url"], trust_env=False, timeout=SECONDS) as client:
            for _ in range(2):
                answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]})
                assert answer.status_code == 200
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


def test_log_file_that_was_renamed_is_opened_anew(start_host: StartHost, tmp_path: Path) -> None:
    path, renamed = tmp_path / "host.log", tmp_path / "host.log.1"
    host = start_host(engine="scripted", log_file=str(path))
    path.rename(renamed)
    host.send_signal(signal.SIGHUP)
    eventually(path.exists)
    host.http.post("/tokenize", json={"content": "hello"})
    eventually(lambda: '"event": "request"' in path.read_text("utf-8"))
    assert '"event": "listening"' in renamed.read_text("utf-8")
    assert host.returncode is None


@pytest.fixture
def command(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """``modelhost serve`` with the key "first" from a file, listening."""
    (tmp_path / "modelhost.yaml").write_text("api_keys: [first]\n", "utf-8")
    with (tmp_path / "stderr").open("wb") as complaints:
        process = subprocess.Popen(
            SERVE,
            cwd=tmp_path,
            env=environ(XDG_DATA_HOME=str(tmp_path / "data"), MODELHOST_ALERT_INTERVAL="0.1"),
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def logged(folder: Path, event: str) -> list[dict[str, object]]:
    lines = (folder / "stderr").read_text("utf-8").splitlines()
    return [found for line in lines if line.startswith("{") and (found := json.loads(line))["event"] == event]


def url_of(command: subprocess.Popen[str]) -> str:
    assert command.stdout is not None
    return next(found[0] for line in command.stdout if (found := re.search(r"http://[\d.]+:\d+", line)))


def test_configuration_is_read_anew_and_what_can_be_is_put_in_force(
    command: subprocess.Popen[str], tmp_path: Path
) -> None:
    url = url_of(command)

    def status(key: str) -> int:
        return httpx2.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}, trust_env=False).status_code

    assert (status("first"), status("second")) == (200, 401)
    (tmp_path / "modelhost.yaml").write_text("api_keys: [second]\nslots: 3\n", "utf-8")
    command.send_signal(signal.SIGHUP)
    eventually(lambda: logged(tmp_path, "settings_need_restart"))
    assert (status("first"), status("second")) == (401, 200)
    assert [line["changed"] for line in logged(tmp_path, "configuration_in_force")] == [["api_keys"]]
    assert [line["names"] for line in logged(tmp_path, "settings_need_restart")] == [["slots"]]

    (tmp_path / "modelhost.yaml").write_text("api_keys: [third]\nsluts: 3\n", "utf-8")
    command.send_signal(signal.SIGHUP)
    eventually(lambda: logged(tmp_path, "configuration_refused"))
    assert (status("second"), status("third")) == (200, 401)


def test_alert_rules_follow_the_configuration(command: subprocess.Popen[str], tmp_path: Path) -> None:
    url_of(command)
    rules = "{works: {metric: model_failed, comparison: '>=', threshold: 0}}"
    (tmp_path / "modelhost.yaml").write_text(f"api_keys: [first]\nalerts: {rules}\n", "utf-8")
    command.send_signal(signal.SIGHUP)
    eventually(lambda: logged(tmp_path, "alert_firing"))
    assert [line["rule"] for line in logged(tmp_path, "alert_firing")] == ["works"]
    assert [line["changed"] for line in logged(tmp_path, "configuration_in_force")] == [["alerts"]]
    (tmp_path / "modelhost.yaml").write_text("api_keys: [first]\n", "utf-8")
    command.send_signal(signal.SIGHUP)
    eventually(lambda: logged(tmp_path, "alert_resolved"))


def test_models_that_clients_may_add_follow_the_configuration(command: subprocess.Popen[str], tmp_path: Path) -> None:
    url = url_of(command)

    def status() -> int:
        headers = {"Authorization": "Bearer first"}
        body = {"model_id": "./any.gguf"}  # the scripted engine reads no files
        return httpx2.post(f"{url}/v1/models/load", json=body, headers=headers, timeout=SECONDS).status_code

    assert status() == 403
    (tmp_path / "modelhost.yaml").write_text("api_keys: [first]\nallow_models: any\n", "utf-8")
    command.send_signal(signal.SIGHUP)
    eventually(lambda: logged(tmp_path, "configuration_in_force"))
    assert status() == 200


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup


def test_host_ends_when_its_terminal_is_closed(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    with (tmp_path / "stderr").open("wb") as complaints:
        process = subprocess.Popen(
            SERVE,
            cwd=tmp_path,
            env=environ(XDG_DATA_HOME=str(tmp_path / "data")),
            stdin=its,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (no thread of ours holds a lock)
        )
    os.close(its)
    try:
        eventually(lambda: logged(tmp_path, "listening"))
        process.send_signal(signal.SIGHUP)  # while the terminal is there, it is a person's wish
        eventually(lambda: logged(tmp_path, "configuration_in_force"))
        os.close(ours)
        assert process.wait(SECONDS) == 0
        assert logged(tmp_path, "stopped")
    finally:
        process.kill()
        process.wait()
