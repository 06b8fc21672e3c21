"""Who may import whom: the contract in pyproject.toml, and the places where a library may be used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "modelhost"


def test_packages_import_lower_layers_only() -> None:
    lint = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("xllamacpp", ["engines/llamacpp/worker.py"]),
        ("llguidance", ["engines/worker/grammars.py"]),
        ("numpy", ["engines/worker/", "engines/mlx/worker.py"]),
        ("mistralrs", ["engines/mistralrs/"]),
        ("mlx", ["engines/mlx/worker.py"]),
        ("mlx_lm", ["engines/mlx/worker.py"]),
        ("torch", ["engines/transformers/worker.py"]),
        ("transformers", ["engines/transformers/worker.py"]),
        ("fastapi", ["http/"]),
        ("starlette", ["http/", "mcp_servers/"]),
        ("uvicorn", ["http/", "engines/worker/server.py"]),
        ("typer", ["cli/"]),
        ("huggingface_hub", ["models/"]),
    ],
)
def test_a_library_stays_in_its_room(library: str, homes: list[str]) -> None:
    importing = re.compile(rf"^\s*(import|from) {library}\b", flags=re.MULTILINE)
    users = [
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if importing.search(path.read_text())
    ]
    assert [user for user in users if not user.startswith(tuple(homes))] == []


def test_the_environment_is_read_in_config_only() -> None:
    reading = re.compile(r"os\.(environ|getenv)\b")
    users = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if reading.search(path.read_text())}
    assert users == {"config/environment.py"}
