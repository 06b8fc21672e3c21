"""docs/reference is what the code says, and leaves nothing out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from modelhost.config import environment, vllm_environment
from modelhost.config.fields import SETTINGS
from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.config.variables import parse_dotenv
from modelhost.errors import ModelhostError
from modelhost.meters import REGISTRY
from tests.support.serving import ServedHost
from tools.reference import pages

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def generated() -> Mapping[Path, str]:
    return pages.generated()


def leaves(error: type[ModelhostError] = ModelhostError) -> list[type[ModelhostError]]:
    """Return the errors that have no kinds of their own."""
    children = error.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [error]


def test_the_committed_pages_are_what_the_code_says(generated: Mapping[Path, str]) -> None:
    stale = [path.name for path, text in generated.items() if path.read_text("utf-8") != text]
    assert stale == [], "run `make docs`"


def test_no_page_of_the_reference_is_left_over_from_another_time(generated: Mapping[Path, str]) -> None:
    assert set(REFERENCE.iterdir()) == {path for path in generated if path.parent == REFERENCE}


def test_the_example_of_a_dotenv_file_sets_nothing_as_it_is_and_every_variable_without_its_marks(
    generated: Mapping[Path, str], tmp_path: Path
) -> None:
    text = generated[pages.DOTENV_EXAMPLE]
    assert parse_dotenv(text.encode()) == {}
    (tmp_path / ".env").write_text(re.sub(r"^#(\w+=)", r"\1", text, flags=re.MULTILINE))
    named = parse_dotenv((tmp_path / ".env").read_bytes())
    assert set(named) == {
        *(setting.environment for setting in SETTINGS.values()),
        *(*environment.OTHER_VARIABLES, *environment.OTHER_NAMES, *vllm_environment.VARIABLES),
    }
    effective = load({}, config_path=None, environ={}, cwd=tmp_path)
    assert (effective.settings, effective.warnings) == (Settings(), ())


def test_every_setting_is_in_the_reference() -> None:
    page = (REFERENCE / "settings.md").read_text("utf-8")
    assert [key for key in SETTINGS if f"| `{key}` |" not in page] == []


def test_every_error_code_is_in_the_reference_with_its_class() -> None:
    page = (REFERENCE / "errors.md").read_text("utf-8")
    named = [leaf for leaf in leaves() if leaf.__module__ == "modelhost.errors"]
    assert [
        leaf.code for leaf in named if f"| `{leaf.code}` |" not in page or f"| `{leaf.__name__}` |" not in page
    ] == []


def test_the_usage_of_each_command_names_its_arguments_and_brackets_those_that_may_be_left_out() -> None:
    page = (REFERENCE / "cli.md").read_text("utf-8")
    usages = set(re.findall(r"^modelhost .* \[OPTIONS\]$", page, re.MULTILINE))
    assert "modelhost mcp [FACE] [OPTIONS]" in usages
    assert "modelhost models rm ORG/NAME [OPTIONS]" in usages
    assert "modelhost models pull ORG/NAME[:QUANT] [OPTIONS]" in usages
    assert "modelhost sessions export [ID] [OPTIONS]" in usages
    assert "modelhost tools call NAME [KEY=VALUE...] [OPTIONS]" in usages
    assert "None" not in page


def test_every_metric_is_in_the_reference() -> None:
    page = (REFERENCE / "metrics.md").read_text("utf-8")
    names = [family.name + ("_total" if family.type == "counter" else "") for family in REGISTRY.collect()]
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_every_endpoint_that_is_served_is_in_the_reference(nano_host: ServedHost) -> None:
    page = (REFERENCE / "endpoints.md").read_text("utf-8")
    paths = nano_host.http.get("/openapi.json").json()["paths"]
    assert [path for path in paths if f"| `{path}` |" not in page] == []
