"""Clients for Node.js against a host with the scripted engine and MCP servers; run by ``make test-clients``.

They come from ``locks/npm-clients``. The scripts stand beside their libraries, from where Node.js imports them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.locked import node, node_modules
from tests.support.serving import ServedHost
from tests.support.tool_hosts import calls, config, sdk_server, stub_server, wait_for_tools

SCRIPTS = Path(__file__).parent / "scripts"
NAMES = sorted(script.stem for script in SCRIPTS.glob("*.mjs"))
SECONDS = 120
RULES = [
    calls("both words", ("stub_echo", {"text": "one"}), ("stub_echo", {"text": "two"}), reply="Both."),
    calls("its city", ("stub_echo", {"text": "Rome"}), reply='{"city": "Rome"}'),
    calls("two cities", ("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}), reply="Sunny."),
    {"match": "think hard", "reasoning": "Let me see.", "reply": "Four."},
]

pytestmark = pytest.mark.skipif(
    os.environ.get("MODELHOST_TEST_CLIENTS") is None, reason="needs the network, as `make test-clients`"
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHost]:
    folder = tmp_path_factory.mktemp("node")
    (folder / "script.json").write_text(json.dumps(RULES), "utf-8")
    path = config(folder, stub=stub_server(tools=["echo"]), sdk={**sdk_server(), "sampling": "auto"})
    options = {"script": str(folder / "script.json")}
    with ServedHost(engine="scripted", alias=["scripted", "gpt-5"], mcp_config=path, engine_options=options) as started:
        yield wait_for_tools(started)


@pytest.mark.parametrize("name", NAMES)
def test_a_client_for_node_gets_what_it_needs(name: str, host: ServedHost, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules("npm-clients"))
    script = shutil.copy(SCRIPTS / f"{name}.mjs", tmp_path)
    command = (node("npm-clients"), script, f"{host.url.rstrip('/')}/v1")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{name}:\n{done.stdout}\n{done.stderr}"
