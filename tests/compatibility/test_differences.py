"""What the host does in another way than a document says, where no other test shows it."""

from __future__ import annotations

from importlib.metadata import metadata

import pytest
from packaging.specifiers import SpecifierSet


@pytest.mark.promise("vllm-mcp.python")
def test_python_3_11_is_the_oldest() -> None:
    versions = SpecifierSet(metadata("modelhost")["Requires-Python"])
    assert (versions.contains("3.9"), versions.contains("3.11")) == (False, True)


@pytest.mark.promise("mistralrs.windows")
def test_windows_is_no_platform_of_the_package() -> None:
    platforms = [
        each for each in metadata("modelhost").get_all("Classifier") or () if each.startswith("Operating System")
    ]
    assert platforms == ["Operating System :: MacOS", "Operating System :: POSIX :: Linux"]
