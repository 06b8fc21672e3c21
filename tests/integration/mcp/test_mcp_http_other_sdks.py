"""The MCP servers of a running host under clients of other SDKs: the old one of Python, and TypeScript's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.mcp_clients import seen_by_old_sdk, seen_by_typescript_sdk
from tests.support.serving import ServedHost


@pytest.mark.parametrize(
    "see", [pytest.param(seen_by_old_sdk, id="Python 1.30"), pytest.param(seen_by_typescript_sdk, id="TypeScript")]
)
def test_clients_of_the_handshake_era_use_everything(
    see: Callable[..., dict[str, Any]], start_host: Callable[..., ServedHost], tmp_path: Path
) -> None:
    host = start_host(engine="scripted", alias=["scripted"])
    seen = see(f"{host.url}/mcp", tmp_path, {})
    assert len(seen["tools"]) == 17
    assert {"model://{+model_id}/config", "model/{model_id}/config", "state/sessions"} <= set(seen["templates"])
    models = ["model://scripted/config", "model://scripted/logs"]
    assert seen["resources"] == [*models, "state://sessions", "metrics://current", "alerts://active"]
    assert seen["text"] == seen["structured"]["content"] == "one two three"
    # The TypeScript SDK drops progress that it reads together with the answer, which ends its handler first.
    assert seen["told"]
    assert "one two three".startswith("".join(seen["told"]))
    is_error, refused = seen["refused"]
    assert is_error is True
    assert refused["error"]["code"] == "MODEL_NOT_FOUND"
    assert seen["config"]["model_id"] == "scripted"
