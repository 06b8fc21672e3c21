"""Checks that a host with tools is not exposed without API keys."""

from __future__ import annotations

import ipaddress

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError


def check_exposure(settings: Settings, address: str) -> None:
    """Check that a host on ``address`` (an IP address) does not run tools for everybody.

    A file of MCP servers counts even if it is empty: it is watched, and servers may be added while the host runs.

    Raises:
        ConfigError: other machines could run its tools without a key.
    """
    if settings.mcp_config is None or settings.api_keys or settings.insecure:
        return
    if ipaddress.ip_address(address).is_loopback:
        return
    raise ConfigError(
        f"Whoever reaches {address} could run the tools of {settings.mcp_config} without a key. Require one (--api-key "
        'KEY, or in the configuration file the line "api_keys": ["KEY"]), listen on 127.0.0.1 only, or allow '
        'everyone to (--insecure, or the line "insecure": true).',
        param="insecure",
    )
