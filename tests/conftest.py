"""Fixtures for every test: hosts in processes of their own, and time that costs nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.support import llama_server
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.serving import HostPool, ServedHost, host_pool
from tests.support.virtual_time import move_to_virtual_time

llama_server.set_aside()

# Each example may take as long as the machine needs: what is busy is no fault of what is tested.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _own_data_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test starts writes where the person who runs it keeps sessions; processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _heeded_interrupts() -> None:
    """A shell has its background jobs ignore Ctrl-C, and what they start: processes that tests interrupt, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """Logs are bound to the standard error of the test that set them up, which is closed when it ends."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def virtual_time() -> None:
    """An asynchronous test that uses it runs on a loop where seconds cost nothing: ``tests/support/virtual_time.py``.

    A whole module uses it by ``pytestmark = pytest.mark.usefixtures("virtual_time")``.
    """


@pytest.hookimpl(wrapper=True, trylast=True)  # before pytest-asyncio sees what is asynchronous
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Tests that use ``virtual_time`` run in it."""
    found = yield
    for each in found if isinstance(found, list) else [found]:
        if isinstance(each, pytest.Function):
            move_to_virtual_time(each)
    return found


@pytest.fixture(scope="session")
def hosts() -> Iterator[HostPool]:
    """Hosts shared by all tests: ``hosts.host(**settings)``. Only for tests that leave them as they are."""
    with host_pool() as pool:
        yield pool


@pytest.fixture(scope="session")
def nano_host(hosts: HostPool) -> ServedHost:
    """A shared host with the bundled model on llama.cpp."""
    return hosts.host()


@pytest.fixture(scope="session")
def scripted_host(hosts: HostPool) -> ServedHost:
    """A shared host with the scripted engine, which says exactly what it is told."""
    return hosts.host(engine="scripted", alias=["scripted/model", "scripted"])


@pytest.fixture
def start_host() -> Iterator[Callable[..., ServedHost]]:
    """Starts a host of the test's own: ``start_host(**settings)``; it is ended with the test."""
    with ExitStack() as started:

        def start(**settings: Any) -> ServedHost:
            return started.enter_context(ServedHost(**settings))

        yield start


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests that need one; each makes databases of its own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database; a test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'modelhost.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_schema()
