"""Which addresses are public: those that anybody on the internet can reach, without the help of this machine.

Source: https://www.iana.org/assignments/iana-ipv4-special-registry and its twin for IPv6. They are listed here since
``ipaddress`` follows them from version to version, and has multicast and tunnels among what is global.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import psutil

Address = IPv4Address | IPv6Address

NOT_PUBLIC: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for the machine itself
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by customers of a provider (CGNAT); metadata of Alibaba's machines
            "127.0.0.0/8",
            "168.63.129.16/32",  # the platform of Azure's machines, to them alone
            "169.254.0.0/16",  # link-local; metadata of machines in clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # assignments of protocols
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
GLOBAL: Final = IPv6Network("2000::/3")
"""The only part of IPv6 that is assigned for global unicast. Outside are loopback, unique local and link-local
addresses, multicast, and IPv4 addresses in another form (``::ffff:127.0.0.1``, ``::127.0.0.1``)."""
NOT_GLOBAL: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # assignments of protocols: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, with an IPv4 address inside
            "3fff::/20",  # documentation
        ),
    )
)
NAT64: Final = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 reaches IPv4 addresses, which are the last 32 bits."""


def is_public(address: Address) -> bool:
    """Whether ``address`` is public, also if it is another one in disguise."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC)
    if address.scope_id is not None:
        return False
    if address in NAT64:
        return is_public(IPv4Address(address.packed[-4:]))
    return address in GLOBAL and not any(address in network for network in NOT_GLOBAL)


def is_elsewhere(address: Address) -> bool:
    """Whether ``address`` is public and none of this machine's: a firewall does not stand between it and itself."""
    return is_public(address) and address not in own_addresses()


def own_addresses() -> frozenset[Address]:
    """Return the addresses of the network interfaces of this machine."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = (each for interface in psutil.net_if_addrs().values() for each in interface if each.family in families)
    return frozenset(ip_address(each.address) for each in found)


def addresses_of(answers: Iterable[str]) -> tuple[Address, ...]:
    """Return the addresses in ``answers`` of a resolver, each once, in their order."""
    return tuple(dict.fromkeys(map(ip_address, answers)))
