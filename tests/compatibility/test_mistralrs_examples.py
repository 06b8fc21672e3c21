"""The examples of mistral.rs: its file of MCP servers, and the command lines of its server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from modelhost.cli.main import main
from tests.compatibility.examples import SECONDS, commands_of, text_of
from tests.compatibility.started import NANO, started, surroundings, with_port
from tests.support.hub import Repository, serve_hub
from tests.support.mcp_peers import free_port
from tests.support.nano_hf import NANO_HF
from tests.support.npx import npx_path

LLAMA = "meta-llama/Llama-3.2-3B-Instruct"
QWEN = "Qwen/Qwen3-4B"
PATHS = ("/path/to/model", "/path")
# Of the engines for safetensors that run anywhere, the one that starts most quickly.
MLX = {"MODELHOST_ENGINE": "mlx"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the file of the document and a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mcp-config.json").write_text(text_of("mistralrs/mcp-config.json"), "utf-8")
    (tmp_path / "model.gguf").symlink_to(NANO)
    return tmp_path


@pytest.fixture
def env(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a command, with a hub that has the bundled model in the place of larger ones."""
    weights = Repository(files={path.name: path.read_bytes() for path in NANO_HF.iterdir()})
    with serve_hub(**{LLAMA: weights, QWEN: weights}) as hub:
        yield surroundings(folder, HF_ENDPOINT=hub.endpoint)


def words_of(example: str, number: int, folder: Path) -> list[str]:
    """The words behind the program, with a folder of this machine in the place of the document's."""
    program, *words = commands_of(f"mistralrs/{example}")[number]
    assert program.endswith("mistralrs-server")
    return [str(folder) if word in PATHS else word for word in words]


@pytest.mark.promise("mistralrs.mcp.file")
def test_the_servers_of_the_document_give_their_tools(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", npx_path(folder / "bin"))
    assert main(["tools", "list", "--config", "mcp-config.json", "--json"]) == 0
    names = [tool["function"]["name"] for tool in json.loads(capsys.readouterr().out)["data"]]
    assert "Filesystem_read_text_file" in names


@pytest.mark.promise("mistralrs.run.interactive")
@pytest.mark.parametrize(
    ("number", "engine"),
    [
        pytest.param(0, {}, marks=pytest.mark.promise("mistralrs.run.gguf")),
        pytest.param(1, MLX, marks=pytest.mark.promise("mistralrs.run.plain")),
    ],
)
def test_the_interactive_mode_answers_until_its_input_ends(
    number: int, engine: dict[str, str], folder: Path, env: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelhost", *words_of("direct-binary-usage.sh", number, folder)],
        input="Hello!\n",
        cwd=folder,
        env={**env, **engine},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("number", "tools"),
    [
        pytest.param(2, False, marks=pytest.mark.promise("mistralrs.run.gguf", "mistralrs.run.port")),
        pytest.param(3, True, marks=pytest.mark.promise("mistralrs.run.mcp-config")),
    ],
)
def test_the_server_answers_on_its_port_and_has_the_tools_of_its_file(
    number: int, tools: bool, folder: Path, env: dict[str, str]
) -> None:
    port = free_port()
    words = with_port(words_of("direct-binary-usage.sh", number, folder), "--port", port)
    with started(words, folder, port, {**env, "PATH": npx_path(folder / "bin")}) as host:
        assert host.answer()["model"] == "model"
        assert ("Filesystem_read_text_file" in host.tools()) is tools


@pytest.mark.promise("mistralrs.mcp.port", "mistralrs.run.plain")
def test_the_mcp_server_is_on_a_port_of_its_own_beside_the_http_api(folder: Path, env: dict[str, str]) -> None:
    port, mcp_port = free_port(), free_port()
    words = with_port(words_of("mcp-server.sh", 0, folder), "--mcp-port", mcp_port)
    with started(words, folder, port, {**env, **MLX, "MODELHOST_PORT": str(port)}) as host:
        assert host.answer()["model"] == QWEN
        question = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        answer = httpx2.post(f"http://127.0.0.1:{mcp_port}/mcp", json=question, trust_env=False, timeout=SECONDS)
    assert "chat_completion" in [tool["name"] for tool in answer.json()["result"]["tools"]]
