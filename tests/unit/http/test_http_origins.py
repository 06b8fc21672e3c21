"""Which web pages may speak to a host without keys."""

from __future__ import annotations

import pytest

from modelhost.errors import ForeignOrigin
from modelhost.http.origins import Origins, is_local


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
    Origins([], is_local_only=True).check(origin.encode(), host.encode())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "127.0.0.1:8000"),
        ("http://localhost:3000", "localhost:8000"),
        ("null", "127.0.0.1:8000"),
        ("http://127.0.0.1:8000", None),
        # A name of the page's owner that points to this machine.
        ("http://evil.example:8000", "evil.example:8000"),
    ],
)
def test_pages_of_others_may_not(origin: str, host: str | None) -> None:
    with pytest.raises(ForeignOrigin, match="--allow-origin"):
        Origins([], is_local_only=True).check(origin.encode(), host.encode() if host else None)


def test_pages_that_are_allowed_may() -> None:
    Origins(["http://localhost:3000/"], is_local_only=True).check(b"http://localhost:3000", b"127.0.0.1:8000")
    Origins(["*"], is_local_only=True).check(b"https://anything.example", b"127.0.0.1:8000")


def test_a_host_that_others_reach_goes_by_any_name() -> None:
    Origins([], is_local_only=False).check(b"http://gpu-box:8000", b"gpu-box:8000")
    with pytest.raises(ForeignOrigin):
        Origins([], is_local_only=False).check(b"https://evil.example", b"gpu-box:8000")


@pytest.mark.parametrize("authority", ["evil.example", "10.0.0.1:80", "localhost.evil.example", "", "127.0.0.1.evil"])
def test_names_of_others_are_not_local(authority: str) -> None:
    assert not is_local(authority)
