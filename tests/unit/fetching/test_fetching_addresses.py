"""Which addresses are public, in every form that IPv4 and IPv6 have for them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from modelhost.fetching.addresses import is_elsewhere, is_public, own_addresses

HIDDEN = [
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254"),  # noqa: S104 (no socket is bound to it)
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "100.127.255.255", "168.63.129.16"),
    *("192.0.0.1", "192.0.0.9", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1"),
    *("::ffff:127.0.0.1", "::ffff:93.184.215.14", "::127.0.0.1", "::93.184.215.14", "::ffff:0:127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1"),
    *("2002:7f00:1::", "2002:5db8:d70e::1", "2001::1", "2001:0:4136:e378::", "2001:2::1", "2001:20::1", "2001:db8::1"),
    *("3fff::1", "100::1", "5f00::1", "4000::1", "2606:4700::1%1"),
]
OPEN = ["93.184.215.14", "1.1.1.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "223.255.255.255"]
OPEN += ["2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::93.184.215.14"]


@pytest.mark.parametrize("address", HIDDEN)
def test_an_address_that_not_everybody_reaches_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_an_address_that_everybody_reaches_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_the_addresses_of_this_machine_are_not_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ip_address("127.0.0.1") in own_addresses()
    mine = frozenset({ip_address("93.184.215.14")})
    monkeypatch.setattr("modelhost.fetching.addresses.own_addresses", lambda: mine)
    assert not is_elsewhere(ip_address("93.184.215.14"))
    assert is_elsewhere(ip_address("93.184.215.15"))
