"""What ``import modelhost`` gives, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

import modelhost

# Standard library and the package itself; measured against an interpreter that has imported nothing.
IMPORTED_BY_US = """
import json, sys
before = set(sys.modules)
import modelhost
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_the_public_names_are_these() -> None:
    assert sorted(modelhost.__all__) == ["Host", "LLM", "ModelhostError", "Reply", "Settings", "__version__", "run"]


@pytest.mark.parametrize("name", modelhost.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(modelhost, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Hots'"):
        modelhost.Hots  # noqa: B018


def test_importing_the_package_imports_no_library() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED_BY_US], capture_output=True, text=True, check=True)
    imported = json.loads(done.stdout)
    assert [name for name in imported if name != "modelhost" and name not in sys.stdlib_module_names] == []
    assert "asyncio" not in imported


def test_the_version_is_that_of_the_installation() -> None:
    assert modelhost.__version__ == metadata.version("modelhost")


def test_the_package_says_that_it_is_typed() -> None:
    assert any(str(path) == "modelhost/py.typed" for path in metadata.files("modelhost") or []) or _is_editable()


def _is_editable() -> bool:
    direct = metadata.distribution("modelhost").read_text("direct_url.json")
    return direct is not None and json.loads(direct).get("dir_info", {}).get("editable", False)
