"""Where a running host is: what people write, and what it means."""

from __future__ import annotations

import pytest

from modelhost.client.connections import normalize_url
from modelhost.errors import ConfigError


@pytest.mark.parametrize("url", ["http://h:80", "http://h:80/", "h:80", "http://h:80/v1", "http://h:80/v1/"])
def test_addresses_are_brought_to_one_form(url: str) -> None:
    assert normalize_url(url) == "http://h:80"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://gpu-box", "http://gpu-box"),
        ("localhost", "http://localhost"),
        ("10.0.0.7", "http://10.0.0.7"),
        ("[::1]", "http://[::1]"),
        ("models.example.com/v1", "http://models.example.com"),
        ("https://models.example.com/base/v1", "https://models.example.com/base"),
    ],
)
def test_an_address_may_leave_out_what_is_plain(url: str, address: str) -> None:
    assert normalize_url(url) == address


@pytest.mark.parametrize(
    "url", ["ftp://h", "http://", "http://h:port", "http://[", "", "nonsense", "nonsense/v1", "--json", "two words"]
)
def test_what_is_not_an_http_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a host"):
        normalize_url(url)
