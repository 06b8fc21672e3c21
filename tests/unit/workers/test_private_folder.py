"""The folders in which hosts keep their sockets: each has its own, and takes away only what dead ones left."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelhost.workers import private_folder as module
from modelhost.workers.private_folder import new_socket_path, private_folder

HOLD = """
import sys
from modelhost.workers.private_folder import new_socket_path
path = new_socket_path()
path.touch()
print(path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that all hosts share, in a temporary folder of the test. Its name is short: a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder) / f"modelhost-{os.getuid()}"


@pytest.fixture
def other_host(shared: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a socket, and its path."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(shared.parent)},
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_what_a_running_host_has_stays_although_its_process_cannot_be_seen(
    other_host: tuple[subprocess.Popen[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.pid_exists", lambda _: False)  # as from another container
    _, theirs = other_host
    ours = new_socket_path()
    assert ours is not None
    assert theirs.exists()
    assert ours.parent != theirs.parent
    assert ours.parent.parent == theirs.parent.parent


def test_what_a_killed_host_has_left_is_removed(other_host: tuple[subprocess.Popen[str], Path], shared: Path) -> None:
    process, theirs = other_host
    process.kill()
    process.wait()
    assert theirs.exists()
    assert private_folder() is not None
    assert list(shared.iterdir()) == [private_folder()]


def test_a_host_that_ends_leaves_nothing(other_host: tuple[subprocess.Popen[str], Path], shared: Path) -> None:
    process, _ = other_host
    process.communicate()
    assert list(shared.iterdir()) == []


def test_a_folder_that_was_deleted_by_hand_is_made_anew() -> None:
    first = private_folder()
    assert first is not None
    assert private_folder() == first
    shutil.rmtree(first)
    second = private_folder()
    assert second is not None
    assert second != first
    assert second.is_dir()


def test_what_older_versions_and_others_have_put_there_is_left_alone(shared: Path) -> None:
    shared.mkdir(mode=0o700)
    (shared / "999999999-abcd.sock").touch()
    (shared / "somebody" / "else").mkdir(parents=True)
    assert private_folder() is not None
    assert (shared / "999999999-abcd.sock").exists()
    assert (shared / "somebody" / "else").exists()


def test_a_folder_that_somebody_else_has_made_is_not_used(shared: Path) -> None:
    shared.mkdir(mode=0o755)
    assert private_folder() is None
    assert new_socket_path() is None


def test_without_a_temporary_folder_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert private_folder() is None


def test_a_file_system_without_locks_loses_nothing(
    other_host: tuple[subprocess.Popen[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_descriptor: int, _how: int) -> None:
        raise OSError("no locks here")

    _, theirs = other_host
    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert private_folder() is not None
    assert theirs.exists()


def test_one_who_sweeps_in_the_wrong_moment_costs_another_try(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    flock, swept = fcntl.flock, list[int]()

    def swept_first(descriptor: int, how: int) -> None:
        if not swept:
            swept.append(descriptor)
            for path in shared.iterdir():
                shutil.rmtree(path)
        flock(descriptor, how)

    monkeypatch.setattr(module.fcntl, "flock", swept_first)
    folder = private_folder()
    assert folder is not None
    assert (folder / module.LOCK).exists()
