"""FluidMCP, really running, in front of ``modelhost mcp llm``: its packages' example, on a port of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2

from tests.support.eventually import eventually
from tests.support.locked import python_environment
from tests.support.mcp_peers import free_port
from tests.support.mcp_stdio import environment
from tests.support.processes import MARK, Family

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "fluidmcp.json"
START_SECONDS: Final = 60
# `fluidmcp run all` to the letter, but for its address: it would listen to the whole network.
LAUNCH: Final = """
import sys, uvicorn
run = uvicorn.run
uvicorn.run = lambda app, **options: run(app, **{**options, "host": "127.0.0.1"})
from fluidai_mcp.cli import main
sys.argv = ["fluidmcp", "run", "all"]
main()
"""


class Gateway(Family):
    """The gateway on a port of its own: it ends whoever listens on the one that it is told."""

    def __init__(self, folder: Path) -> None:
        self._mark = os.urandom(8).hex()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        variables = {
            "MCP_CLIENT_SERVER_ALL_PORT": str(port),
            "MODELHOST_DATA_DIR": str(folder / "data"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            MARK: self._mark,
        }
        self.process = subprocess.Popen(
            [str(python_environment("fluidmcp") / "python"), "-c", LAUNCH],
            cwd=folder,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )


@contextmanager
def fluidmcp(folder: Path) -> Iterator[httpx2.Client]:
    """A client of the gateway that serves the example, installed as its packages are."""
    package = folder / ".fmcp-packages" / "modelhost" / "llm" / "0.1.0"
    package.mkdir(parents=True)
    configuration = json.loads(EXAMPLE.read_text("utf-8"))
    configuration["mcpServers"]["vllm"]["args"] += ["--config", str(folder / "own.json")]
    (folder / "own.json").write_text('{"threads": 1}', "utf-8")
    (package / "metadata.json").write_text(json.dumps(configuration), "utf-8")
    started = Gateway(folder)
    try:
        with httpx2.Client(base_url=started.url, timeout=60, trust_env=False) as client:
            eventually(lambda: started.process.poll() is not None or _answers(client), seconds=START_SECONDS)
            assert started.process.poll() is None
            yield client
    finally:
        started.close()


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/openapi.json").status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False
