"""A PostgreSQL server of the tests' own: on loopback, in a directory of its own, gone with the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WITHOUT = "MODELHOST_TESTS_WITHOUT_POSTGRESQL"
READY_SECONDS = 60.0
# Ends the server when its standard input is closed, which it is when the tests have ended, in whatever way. At once:
# nobody needs its files any more.
KEEPER = '"$@" </dev/null & read line; kill -QUIT $!; wait $!'


class PostgresServer:
    """A running server."""

    def __init__(self, programs: Path, port: int) -> None:
        self._programs = programs
        self._port = port
        self._count = 0

    def new_database(self) -> str:
        """Make an empty database; return its address."""
        name = self._make("DATABASE")
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"

    def new_schema(self) -> str:
        """Make an empty part of a database, which takes less time than a whole one; return its address."""
        name = self._make("SCHEMA")
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres?search_path={name}"

    def _make(self, what: str) -> str:
        self._count += 1
        name = f"test{self._count}"
        server = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres"]
        command = [self._programs / "psql", *server, "-c", f"CREATE {what} {name}", "postgres"]
        subprocess.run(command, check=True, capture_output=True)
        return name


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Start a server, end it afterwards. Only a ``durable`` one waits for its disk, which takes tests more time."""
    programs = _programs()
    user = _unprivileged()
    with tempfile.TemporaryDirectory(prefix="modelhost-postgres-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = Path(folder) / "data"
        _run([programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8"], user, folder)
        port = _free_port()
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", f"fsync={'on' if durable else 'off'}"]
        command = ["sh", "-c", KEEPER, "sh", str(programs / "postgres"), "-D", str(data), *options]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                command, user=user, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=output
            )
        try:
            _wait(data / "postmaster.pid", server, log)
            yield PostgresServer(programs, port)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(READY_SECONDS)


def binaries() -> Path | None:
    """Return the directory of the server's programs, if they are installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3].zfill(4))
    return versions[-1].parent if versions else None


def _programs() -> Path:
    """Without them the tests fail, unless somebody chose to do without."""
    found = binaries()
    if found is not None:
        return found
    way_out = "install PostgreSQL (the package `postgresql` of Debian and Ubuntu, `brew install postgresql`)"
    if os.environ.get(WITHOUT):
        pytest.skip(f"there is no PostgreSQL; {way_out}")
    pytest.fail(f"The tests need PostgreSQL: {way_out}, or set {WITHOUT}=1 to leave out what needs it.", pytrace=False)


def _unprivileged() -> str | None:
    """The server refuses to run as root: somebody else to run it as; ``None`` if we are somebody else."""
    return None if os.geteuid() else "postgres" if _exists("postgres") else "nobody"


def _exists(user: str) -> bool:
    return subprocess.run(["id", user], capture_output=True, check=False).returncode == 0


def _run(command: list[str | Path], user: str | None, folder: str) -> None:
    done = subprocess.run(command, user=user, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{command[0]}, as {user or getpass.getuser()}: {done.stderr or done.stdout}", pytrace=False)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait(status: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and server.poll() is None:
        # Its last line says so: https://github.com/postgres/postgres/blob/master/src/include/utils/pidfile.h
        if status.exists() and status.read_text().split()[-1:] == ["ready"]:
            return
        time.sleep(0.05)
    pytest.fail(f"PostgreSQL did not start: {log.read_text(errors='replace')}", pytrace=False)
