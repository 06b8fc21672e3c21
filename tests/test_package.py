"""What ``import modelhost`` gives, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

import modelhost
from modelhost.supported import LEAST_PYTHON, unsupported_python, unsupported_reason

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


def with_this(statement: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; {code}"], capture_output=True, text=True, check=False
    )


@pytest.mark.promise("vllm-mcp.python")
def test_an_older_python_is_told_to_be_too_old_by_the_first_import() -> None:
    done = with_this("sys.version_info = (3, 9, 2, 'final', 0)", "import modelhost")
    assert done.returncode == 1
    assert "ImportError: modelhost needs Python 3.11 or newer, and this is 3.9: " in done.stderr
    assert "uv venv --python 3.12" in done.stderr


@pytest.mark.promise("mistralrs.windows")
def test_on_windows_a_command_ends_with_the_way_out_and_so_does_the_first_use_of_the_library() -> None:
    command = with_this("from modelhost.cli.main import main; sys.platform = 'win32'", "sys.exit(main(['--version']))")
    assert (command.returncode, command.stdout) == (1, "")
    assert command.stderr.startswith("error: modelhost does not run on Windows itself, but under WSL")
    assert "wsl --install" in command.stderr
    library = with_this("import modelhost; sys.platform = 'win32'", "modelhost.LLM")
    assert "ImportError: modelhost does not run on Windows itself" in library.stderr


def test_what_is_needed_is_what_the_metadata_says() -> None:
    needed = ".".join(map(str, LEAST_PYTHON))
    assert metadata.metadata("modelhost")["Requires-Python"] == f">={needed}"
    assert unsupported_python(sys.version_info[:2]) is None
    assert unsupported_reason("linux") is unsupported_reason("darwin") is None


def test_the_version_is_that_of_the_installation() -> None:
    assert modelhost.__version__ == metadata.version("modelhost")


def test_the_package_says_that_it_is_typed() -> None:
    assert any(str(path) == "modelhost/py.typed" for path in metadata.files("modelhost") or []) or _is_editable()


def _is_editable() -> bool:
    direct = metadata.distribution("modelhost").read_text("direct_url.json")
    return direct is not None and json.loads(direct).get("dir_info", {}).get("editable", False)
