"""The log file: one a day, none deleted, no secrets, and nobody waits for the disk."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from modelhost import logs, redaction
from modelhost.errors import ConfigError
from modelhost.log_file import DailyFile
from tests.support.eventually import eventually

log = logs.get_logger("test")


class Clock:
    """Shows what the test says, in local time."""

    def __init__(self, at: str) -> None:
        self.set(at)

    def set(self, at: str) -> None:
        self.seconds = datetime.fromisoformat(at).timestamp()

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_KNOWN", redaction._Secrets())


@contextmanager
def logging_to(path: Path, clock: Clock | None = None, level: str = "debug", **options: Any) -> Iterator[None]:
    logs.setup("error")
    with logs.log_to_file(str(path), level, clock=clock or Clock("2025-03-01T12:00:00"), **options):
        yield


def events(path: Path) -> list[str]:
    return [line["event"] for line in lines(path)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.promise("llm-server.log.daily")
def test_at_midnight_the_file_gets_the_date_of_the_day_that_it_holds(path: Path) -> None:
    clock = Clock("2025-02-28T23:59:59.999")
    with logging_to(path, clock):
        log.info("before")
        clock.set("2025-03-01T00:00:00")
        log.info("after")
    assert names(path.parent) == ["server.log", "server.log-20250228"]
    assert (events(path.with_name("server.log-20250228")), events(path)) == (["before"], ["after"])


def test_days_without_a_word_leave_no_files_and_confuse_no_dates(path: Path) -> None:
    clock = Clock("2024-12-30T12:00:00")
    with logging_to(path, clock):
        log.info("old year")
        clock.set("2025-01-02T12:00:00")
        log.info("new year")
        clock.set("2025-01-03T12:00:00")
        log.info("next day")
    assert names(path.parent) == ["server.log", "server.log-20241230", "server.log-20250102"]


@pytest.mark.promise("llm-server.log.kept")
def test_a_year_of_days_is_kept(path: Path) -> None:
    clock = Clock("2025-01-01T12:00:00")
    with logging_to(path, clock):
        for _ in range(366):
            log.info("day")
            clock.seconds += 24 * 3600
    assert len(names(path.parent)) == 366
    assert all(events(path.parent / name) == ["day"] for name in names(path.parent))


def test_what_a_host_left_yesterday_is_put_away_by_the_one_of_today(path: Path) -> None:
    path.write_text('{"event": "yesterday"}\n')
    at = datetime.fromisoformat("2025-03-04T20:00:00").timestamp()
    os.utime(path, (at, at))
    with logging_to(path, Clock("2025-03-05T08:00:00")):
        log.info("today")
    assert (events(path.with_name("server.log-20250304")), events(path)) == (["yesterday"], ["today"])


def test_a_host_that_is_started_again_on_the_same_day_goes_on_in_the_file(path: Path) -> None:
    for event in ("first", "second"):
        with logging_to(path, Clock(datetime.now().astimezone().isoformat())):
            log.info(event)
    assert events(path) == ["first", "second"]


def test_a_file_that_has_the_name_already_is_not_written_over(path: Path) -> None:
    path.with_name("server.log-20250301").write_text("kept\n")
    path.with_name("server.log-20250301.1").write_text("kept too\n")
    clock = Clock("2025-03-01T12:00:00")
    with logging_to(path, clock):
        log.info("before")
        clock.set("2025-03-02T00:00:01")
        log.info("after")
    assert path.with_name("server.log-20250301").read_text() == "kept\n"
    assert path.with_name("server.log-20250301.1").read_text() == "kept too\n"
    assert events(path.with_name("server.log-20250301.2")) == ["before"]


def test_a_clock_that_is_set_back_does_not_rotate(path: Path) -> None:
    clock = Clock("2025-03-02T00:00:01")
    with logging_to(path, clock):
        log.info("one")
        clock.set("2025-03-01T23:59:59")
        log.info("two")
    assert names(path.parent) == ["server.log"]


def test_a_line_has_the_local_time_with_its_offset(path: Path) -> None:
    with logging_to(path, Clock("2025-03-01T12:00:00.250")):
        log.info("now")
    (line,) = lines(path)
    at = datetime.fromisoformat(line["timestamp"])
    assert at.utcoffset() is not None
    assert at == datetime.fromisoformat("2025-03-01T12:00:00.250").astimezone()


def test_nobody_waits_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    can_write, has_logged = threading.Event(), threading.Event()
    write = DailyFile.emit

    def slow(self: DailyFile, record: logging.LogRecord) -> None:
        assert has_logged.wait(10)  # the test would hang here if the line below were not reached before
        can_write.set()
        write(self, record)

    monkeypatch.setattr(DailyFile, "emit", slow)
    with logging_to(path):
        for number in range(1000):
            log.info("one", number=number)
        assert not can_write.is_set()
        has_logged.set()
    assert len(lines(path)) == 1000


def test_a_file_that_cannot_be_opened_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"cannot write to the log file .*nowhere.*name another with --log-file"),
        logging_to(tmp_path / "nowhere" / "server.log"),
    ):
        pass


def test_a_file_that_cannot_be_renamed_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("not here")

    clock = Clock("2025-03-01T12:00:00")
    monkeypatch.setattr(DailyFile, "rotate", refuse)
    with logging_to(path, clock):
        log.info("before")
        clock.set("2025-03-02T12:00:00")
        log.info("after")
        log.info("later")
    assert events(path) == ["before", "after", "later"]
    assert capfd.readouterr().err.count("cannot rename the log file") == 1


def test_what_another_process_writes_is_in_the_file_from_info_on(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with logging_to(path, level="info"):
        log.debug("worker_log", line="loading")
        log.debug("details")
        log.info("ready")
    with logging_to(path, level="warning"):
        log.debug("mcp_server_log", line="noise")
        log.info("ready again")
        log.warning("trouble")
    assert events(path) == ["worker_log", "ready", "trouble"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_record_has_requests_answers_and_the_lines_of_other_processes_at_any_level(
    path: Path, level: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with logging_to(path, level=level, with_contents=True):
        log.info("prompt_received", prompt="who?")
        log.debug("worker_log", line="a worker")
        log.debug("mcp_server_log", line="a server")
        log.info("prompt_answered", response="me")
        log.warning("prompt_refused", reason="too long")
        log.warning("mcp_server_lost", server="s")
        log.info("worker_ready")
        log.error("worker_lost")
    record = ["prompt_received", "worker_log", "mcp_server_log", "prompt_answered", "prompt_refused", "mcp_server_lost"]
    assert [event for event in events(path) if event in record] == record
    assert ("worker_ready" in events(path)) == (level in ("debug", "info"))
    assert "worker_lost" in events(path)
    assert "who?" not in capfd.readouterr().err


def test_a_library_that_warns_is_in_the_file_with_its_traceback(path: Path) -> None:
    with logging_to(path):
        try:
            int("broken")
        except ValueError:
            logging.getLogger("somebody").exception("it %s", "failed")
        logging.getLogger("somebody").info("chatter")
    (line,) = lines(path)
    assert (line["event"], line["module"], line["level"]) == ("it failed", "somebody", "error")
    assert "ValueError: invalid literal" in line["exception"]


def test_contents_are_in_a_file_that_asks_for_them_alone(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("info", "json")
    for name, with_contents in (("with", True), ("without", False)):
        with logs.log_to_file(str(path.with_name(name)), "info", with_contents=with_contents):
            log.info("asked", prompt="my diary", response="dear diary", api_keys=["x"])
    (asked,) = lines(path.with_name("with"))
    assert (asked["prompt"], asked["response"], asked["api_keys"]) == ("my diary", "dear diary", redaction.MASK)
    assert "diary" not in path.with_name("without").read_text()
    assert "diary" not in capfd.readouterr().err


def test_a_secret_is_masked_wherever_it_turns_up(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    redaction.hide(["brave-4711-key", "brave-4711", "abc"])
    logs.setup("info", "json")
    with logs.log_to_file(str(path), "info", with_contents=True):
        log.info("said", line="key=brave-4711-key", deep={"list": ["brave-4711", 5]}, prompt="abc brave-4711-key")
        try:
            int("brave-4711-key")
        except ValueError:
            log.exception("failed")
        logging.getLogger("somebody").warning("with %s", "brave-4711-key")
    assert "4711" not in path.read_text() + capfd.readouterr().err
    assert lines(path)[0]["line"] == "key=[redacted]"
    assert lines(path)[0]["prompt"] == "abc [redacted]"


class _Gone(io.StringIO):
    """A pipe that nobody reads any more, or a full disk."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(text)


@pytest.mark.parametrize("stderr", [_Gone(), None], ids=["nobody reads it", "closed"])
def test_a_log_that_cannot_be_written_stops_no_work_and_no_other_log(
    path: Path, stderr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    logs.setup("info", "auto")
    with logs.log_to_file(str(path), "info"):
        log.info("asked")
        logging.getLogger("somebody").warning("of a library")
    assert [line["event"] for line in lines(path)] == ["asked", "of a library"]


def test_the_same_file_twice_gets_each_line_once(path: Path) -> None:
    with logging_to(path), logs.log_to_file(str(path), "debug"):
        log.info("once")
    assert events(path) == ["once"]


def test_console_lines_have_no_colours(path: Path) -> None:
    with logging_to(path, log_format="console"):
        log.info("plain", number=1)
    assert "\x1b" not in path.read_text()
    assert "plain" in path.read_text()


@pytest.mark.promise("llm-server.errors.logged")
def test_what_ends_the_work_is_the_last_line(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError), logging_to(path, level="error"), logs.log_fatal_error():
        raise ConfigError("no such thing")
    with pytest.raises(ZeroDivisionError), logging_to(path, level="error"), logs.log_fatal_error():
        _ = 1 / 0
    ours, bug = lines(path)
    assert (ours["event"], ours["code"], ours["reason"]) == ("ended", "config_error", "no such thing")
    assert "ZeroDivisionError" in bug["exception"]
    assert capfd.readouterr().err == ""


@pytest.fixture
def _everybody() -> Iterator[None]:
    """What is made without a thought is everybody's to read."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_everybody")
def test_new_files_are_for_this_user_alone(path: Path) -> None:
    clock = Clock("2025-03-01T23:59:59")
    with logging_to(path, clock):
        log.info("first")
        clock.set("2025-03-02T00:00:01")
        log.info("second")
    files = [path, path.with_name("server.log-20250301")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]


def test_file_that_was_renamed_is_opened_anew_when_asked(path: Path) -> None:
    renamed = path.with_name("server.log.1")
    with logging_to(path):
        log.info("before")
        logs.reopen_files()
        log.info("between")
    with logging_to(path):
        path.rename(renamed)
        log.info("after the renaming")
        logs.reopen_files()
        log.info("after the opening")
    assert events(renamed) == ["before", "between", "after the renaming"]
    assert events(path) == ["after the opening"]


def test_file_that_cannot_be_opened_anew_is_tried_again(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = path.parent / "logs"
    folder.mkdir()
    with logging_to(folder / "server.log"):
        log.info("lost")
        folder.rename(path.parent / "away")
        logs.reopen_files()
        eventually(lambda: "cannot open the log file" in capfd.readouterr().err)
        folder.mkdir()
        log.info("found")
    assert events(folder / "server.log") == ["found"]


def test_level_can_be_changed_while_the_file_is_written(path: Path) -> None:
    with logging_to(path, level="warning"):
        log.info("before")
        logs.set_level("info")
        log.info("after")
        logs.set_level("error")
        log.warning("not any more")
    assert events(path) == ["after"]
    with logging_to(path):
        log.info("again")
    assert events(path) == ["after", "again"]


def test_whether_debug_goes_anywhere_is_known_before_an_event_is_made(path: Path) -> None:
    with logging_to(path, level="info"):
        assert not logs.has_debug()
        with logs.log_to_file(str(path.with_name("debug.log")), "debug"):
            assert logs.has_debug()
        assert not logs.has_debug()
        logs.set_level("debug")
        assert logs.has_debug()
        logs.set_level("info")
        assert not logs.has_debug()


def test_without_a_path_nothing_is_done() -> None:
    with logs.log_to_file(None, "info"):
        log.info("nowhere")
