"""Which web pages may speak to a host without keys, and by which names it may be called."""

from __future__ import annotations

import socket

import pytest

from modelhost.errors import ForeignOrigin
from modelhost.http.origins import Origins


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://app.localhost:8000", "app.localhost:8000"),
    ],
)
def test_the_hosts_own_pages_may(origin: str, host: str) -> None:
    Origins([]).check(origin.encode(), host.encode())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "127.0.0.1:8000"),
        ("http://localhost:3000", "localhost:8000"),
        ("null", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000", None),
    ],
)
def test_pages_of_others_may_not(origin: str, host: str | None) -> None:
    with pytest.raises(ForeignOrigin, match="--allow-origin"):
        Origins([]).check(origin.encode(), host.encode() if host else None)


def test_pages_that_are_allowed_may() -> None:
    Origins(["http://localhost:3000/"]).check(b"http://localhost:3000", b"127.0.0.1:8000")
    Origins(["*"]).check(b"https://anything.example", b"127.0.0.1:8000")


@pytest.mark.parametrize(
    "name",
    [
        *("127.0.0.1:8000", "192.0.2.1", "10.0.0.1:80", "[::1]:8000", "[fe80::1]"),
        *("localhost", "LocalHost:8000", "localhost.", "api.localhost:1", "host.docker.internal:8000"),
    ],
)
def test_addresses_and_local_names_cannot_be_somebody_elses(name: str) -> None:
    Origins([]).check_host(name.encode())


def test_machine_is_called_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "GPU-Box.lab.example")
    for name in (b"gpu-box.lab.example:8000", b"gpu-box", b"GPU-BOX.local:8000"):
        Origins([]).check_host(name)
    with pytest.raises(ForeignOrigin):
        Origins([]).check_host(b"other.lab.example")


@pytest.mark.parametrize(
    "name",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil", "notlocalhost", "[::1", "a@b"],
)
def test_names_that_can_be_made_to_point_here_are_refused(name: str) -> None:
    with pytest.raises(ForeignOrigin, match="--allowed-host"):
        Origins([]).check_host(name.encode())


def test_request_without_a_name_comes_from_no_browser() -> None:
    Origins([]).check_host(None)
    Origins([]).check_host(b"")


def test_names_that_are_allowed_may_be_used_at_any_port() -> None:
    origins = Origins([], hosts=["LLM.example", "*.lab.example", "named.example:80"])
    for name in (b"llm.example", b"llm.example:8000", b"a.lab.example", b"a.b.lab.example:1", b"named.example:8000"):
        origins.check_host(name)
    for name in (b"lab.example", b"evil-lab.example", b"llm.example.evil"):
        with pytest.raises(ForeignOrigin):
            origins.check_host(name)
    Origins([], hosts=["*"]).check_host(b"anything.example")


def test_name_of_a_page_that_is_allowed_is_allowed() -> None:
    origins = Origins(("https://host.example", "http://other.example:81/"))
    origins.check_host(b"host.example")
    origins.check_host(b"other.example:81")
    with pytest.raises(ForeignOrigin, match=r"--allowed-host third\.example"):
        origins.check_host(b"third.example")
    Origins(("*",)).check_host(b"host.example")
