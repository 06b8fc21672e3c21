"""What is checked before a host listens."""

from __future__ import annotations

from typing import Any

import pytest

from modelhost.config.settings import Settings
from modelhost.errors import ConfigError
from modelhost.http.server import check_ports


@pytest.mark.parametrize(
    "given",
    [{"port": 5000, "ollama_port": 5000}, {"port": 0, "mcp_port": 0}, {"port": 0, "ollama": True}, {"mcp_port": 5000}],
)
def test_each_listener_may_have_its_port(given: dict[str, Any]) -> None:
    check_ports(Settings(**given))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"port": 5000, "mcp_port": 5000}, "port and mcp_port are both 5000"),
        ({"port": 5000, "ollama_port": 5000, "ollama": True}, "port and ollama_port are both 5000"),
        ({"mcp_port": 5000, "ollama_port": 5000, "ollama": True}, "mcp_port and ollama_port are both 5000"),
    ],
)
def test_two_listeners_on_one_port_are_refused(given: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        check_ports(Settings(**given))
