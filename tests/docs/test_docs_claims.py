"""What the pages name is there: files, links, options, variables, error codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bench.options import parser
from modelhost.cli.main import FORMS, app
from modelhost.config.environment import OTHER_VARIABLES
from modelhost.config.fields import SETTINGS
from modelhost.meters import REGISTRY

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "modelhost"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Of `make` and of other programs, named in the pages beside ours.
OTHER_OPTIONS = {"--force-reinstall", "--install", "--no-binary", "--no-deps", "--python", "--upgrade"}
# Of the documents in tests/compatibility, for cargo, FluidMCP and Crush.
OTHER_OPTIONS |= {"--duration-seconds", "--features", "--file", "--include-models", "--model-id", "--release"}
OTHER_OPTIONS |= {"--session-id", "--start-server", "--tensor-parallel-size", "--tool"}
OTHER_OPTIONS |= {"--cache-ram", "--kv-unified-per-slot"}  # of llama-server
OTHER_OPTIONS |= {"--add-host", "--openai-api-base"}  # of docker and aider
OTHER_OPTIONS |= {"--responses-suite"}  # of tests/conformance
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# What a metric is called in the text format, by its kind.
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("", "_bucket", "_sum", "_count")}


def texts() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield str(page.relative_to(ROOT)), page.read_text("utf-8")


def options_of(command: Any) -> set[str]:
    own = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts) if flag.startswith("-")}
    names = command.list_commands(None) if hasattr(command, "list_commands") else ()
    return own.union(*(options_of(command.get_command(None, name)) for name in names))


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8"))]
    files = [target for target in targets if target and "://" not in target]
    assert [file for file in files if not (page.parent / file).exists()] == []


def test_every_option_in_the_pages_exists() -> None:
    of_bench = set(re.findall(FLAG, parser().format_help()))
    root: Any = get_command(app)
    of_forms = set().union(*(options_of(root.get_command(None, name)) for name in FORMS))
    known = options_of(root) | of_forms | of_bench | OTHER_OPTIONS | {"--help"}
    named = {(page, flag) for page, text in texts() for flag in re.findall(FLAG, text)}
    assert sorted((page, flag) for page, flag in named if flag not in known) == []


def test_every_variable_in_the_pages_exists() -> None:
    known = {setting.environment for setting in SETTINGS.values()} | set(OTHER_VARIABLES)
    named = {(page, name) for page, text in texts() for name in re.findall(r"\bMODELHOST_[A-Z_]+", text)}
    assert sorted((page, name) for page, name in named if name not in known) == []


def test_the_architecture_page_is_short_and_names_files_that_are_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    assert len(text.splitlines()) <= 80
    named = re.findall(r"`((?:\w+/)*\w+\.py|\w+/)", text)
    assert [name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()] == []


def test_the_architecture_page_names_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rooms = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert [room for room in rooms if f"`{room}/`" not in text] == []


def test_how_it_works_names_files_that_are_there() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", (ROOT / "docs" / "how-it-works.md").read_text("utf-8"))
    assert [name for name in named if not (PACKAGE / name).exists()] == []


@pytest.mark.promise("mistralrs.make.test")
def test_every_test_command_of_the_readme_is_what_the_continuous_integration_runs() -> None:
    assert "make test" in (ROOT / "README.md").read_text("utf-8")
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_metric_in_the_pages_exists() -> None:
    families = [(family.name, family.type) for family in REGISTRY.collect()]
    known = {name + suffix for name, kind in families for suffix in SUFFIXES[kind]}
    named = {(page, name) for page, text in texts() for name in re.findall(r"\bmodelhost_[a-z_]+", text)}
    assert sorted((page, name) for page, name in named if name not in known) == []


def test_every_log_event_in_the_pages_is_logged() -> None:
    section = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Logs")[2].partition("\n## ")[0]
    named = [name for row in re.findall(r"^\| (`[^|]+) \|", section, flags=re.MULTILINE) for name in row.split(", ")]
    code = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    assert named
    assert [name for name in named if not re.search(rf'\((\s*#.*)?\s*"{name.strip("`")}"', code)] == []
