"""Who may import whom: the contract in pyproject.toml, and the places where a library may be used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from modelhost import lazy

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


def test_what_is_imported_late_is_imported_from_lower_layers_only() -> None:
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    rank = {room: number for number, line in enumerate(layers) for room in line.split(" | ")}
    problems = []
    for path in set(PACKAGE.rglob("*.py")) - {PACKAGE / "lazy.py"}:
        user = path.relative_to(PACKAGE).with_suffix("").parts
        used = re.findall(r"\blazy\.(?:preload\()?\W*(\w+)", path.read_text())
        for module in (lazy.MODULES[name] for name in used if name in lazy.MODULES):
            room = ".".join(module.split(".")[:2])
            if room in rank and room != f"modelhost.{user[0]}" and rank[room] <= rank[f"modelhost.{user[0]}"]:
                problems.append(f"{'/'.join(user)} uses {module}")
    assert problems == []


def test_the_type_checker_knows_what_is_imported_late() -> None:
    tree = ast.parse((PACKAGE / "lazy.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    known = {}
    for node in typed.body:
        assert isinstance(node, ast.Import | ast.ImportFrom)
        before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        known |= {name.asname or name.name: f"{before}{name.name}" for name in node.names}
    assert known == dict(lazy.MODULES)


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("xllamacpp", ["engines/llamacpp/worker.py"]),
        ("llguidance", ["engines/worker/grammars.py"]),
        ("numpy", ["engines/worker/", "engines/media/", "engines/mlx/worker.py", "engines/speech/"]),
        ("mistralrs", ["engines/mistralrs/"]),
        ("sherpa_onnx", ["engines/speech/"]),
        ("hibari", ["engines/speech/"]),
        ("av", ["engines/media/"]),
        ("faster_whisper", ["engines/whisper/"]),
        ("mlx", ["engines/mlx/worker.py"]),
        ("mlx_lm", ["engines/mlx/worker.py"]),
        ("torch", ["engines/transformers/", "engines/diffusers/"]),
        ("transformers", ["engines/transformers/", "engines/diffusers/"]),
        ("diffusers", ["engines/diffusers/"]),
        ("PIL", ["engines/diffusers/", "engines/transformers/vision.py", "engines/media/grey_pictures.py"]),
        ("fastapi", ["http/"]),
        ("starlette", ["http/", "mcp_servers/"]),
        ("uvicorn", ["http/", "engines/worker/server.py"]),
        ("typer", ["cli/"]),
        ("huggingface_hub", ["models/"]),
        ("opentelemetry", ["tracing/otlp.py"]),
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


def test_no_files_import_each_other_in_a_circle() -> None:
    files = _top_level_imports()
    graph = {name: imports & files.keys() for name, imports in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def _top_level_imports() -> dict[str, set[str]]:
    """Return what each module imports when it is imported itself, apart from what only type checkers see."""
    files = {_module(path): path for path in PACKAGE.rglob("*.py")}
    return {name: _imports(ast.parse(path.read_text()).body, files.keys()) - {name} for name, path in files.items()}


def _module(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _imports(body: Iterable[ast.stmt], modules: Collection[str]) -> set[str]:
    found: set[str] = set()
    for node in body:
        match node:
            case ast.Import(names=names):
                found |= {each.name for each in names}
            case ast.ImportFrom(module=str(package), names=names):
                of_package = {f"{package}.{each.name}" for each in names}
                found |= of_package if of_package <= set(modules) else {package, *(of_package & set(modules))}
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                found |= _imports(orelse, modules)
            case ast.If(body=then, orelse=orelse) | ast.Try(body=then, orelse=orelse):
                found |= _imports([*then, *orelse], modules)
    return found


def test_the_scheduler_alone_changes_the_state_of_models() -> None:
    """Besides :class:`HostedModel` itself and ``reloads.py``, which is the scheduler's part for configurations."""
    writing = re.compile(r"^\s*(?:self\._?)?model\.\w+(?:, model\.\w+)* (?:[-+|]?=) ", flags=re.MULTILINE)
    rooms = [PACKAGE / room for room in ("models", "chat", "operations", "persistence")]
    files = [path for room in rooms for path in room.rglob("*.py")] + [PACKAGE / "host.py"]
    writers = {path.name for path in files if writing.search(path.read_text())}
    assert writers == {"scheduler.py", "reloads.py"}


def test_no_file_is_longer_than_450_lines() -> None:
    lengths = {path.relative_to(PACKAGE): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path): lines for path, lines in lengths.items() if lines > 450} == {}


def test_no_folder_has_more_than_25_modules() -> None:
    modules = Counter(path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert {str(folder): number for folder, number in modules.items() if number > 25} == {}
