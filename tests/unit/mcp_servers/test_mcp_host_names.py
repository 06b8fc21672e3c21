"""By which names programs may call a host for its MCP servers: the other half of what keeps foreign pages out."""

from __future__ import annotations

import pytest

from modelhost.errors import ForeignOrigin
from modelhost.http.origins import Origins


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost", "[::1]:8000", "api.localhost:1"])
def test_host_of_this_machine_is_called_by_its_names(name: str) -> None:
    Origins((), is_local_only=True).check_host(name.encode())


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8000", "192.0.2.1", "localhost.evil.example", ""])
def test_host_of_this_machine_is_not_called_by_others(name: str) -> None:
    with pytest.raises(ForeignOrigin):
        Origins((), is_local_only=True).check_host(name.encode())
    with pytest.raises(ForeignOrigin):
        Origins((), is_local_only=True).check_host(None)


def test_name_of_a_page_that_is_allowed_is_allowed() -> None:
    origins = Origins(("https://host.example", "http://other.example:81/"), is_local_only=True)
    origins.check_host(b"host.example")
    origins.check_host(b"other.example:81")
    with pytest.raises(ForeignOrigin, match=r"--allow-origin http://third\.example"):
        origins.check_host(b"third.example")


def test_host_for_everybody_has_any_name() -> None:
    Origins((), is_local_only=False).check_host(b"host.example")
    Origins(("*",), is_local_only=True).check_host(b"host.example")
