"""Fixtures for every test: hosts in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import structlog

from tests.support.serving import HostPool, ServedHost, host_pool


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """Logs are bound to the standard error of the test that set them up, which is closed when it ends."""
    yield
    structlog.reset_defaults()


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
