"""The HTTP client of huggingface_hub where the hub is on this machine, as a mirror or behind a tunnel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import httpx2
from huggingface_hub import set_client_factory

# Not exported, though a factory needs it: it sees to HF_HUB_OFFLINE and to the ids of requests.
from huggingface_hub.utils._http import hf_request_event_hook

LOOPBACK: Final[Mapping[str, None]] = {
    f"all://{host}": None for host in ("localhost", "*.localhost", "127.0.0.0/8", "[::1]", "0.0.0.0/32")
}
"""Where no proxy is used, in the form of httpx2's ``mounts``."""


@cache
def leave_proxies_out_on_this_machine() -> None:
    """Have huggingface_hub speak to this machine without the proxies of the environment; elsewhere it uses them.

    Once in a process: a change of the factory ends the requests at work.
    """
    set_client_factory(_client)


def _client() -> httpx2.Client:
    options: dict[str, Any] = {
        "event_hooks": {"request": [hf_request_event_hook]},
        "follow_redirects": True,
        "timeout": None,
    }
    try:
        return httpx2.Client(**options, mounts=LOOPBACK)
    except (ImportError, ValueError):  # a proxy that cannot be used, and is not needed
        return httpx2.Client(**options, trust_env=False, verify=httpx2.create_ssl_context())
