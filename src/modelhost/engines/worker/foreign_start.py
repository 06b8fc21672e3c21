"""Starts a worker in a Python that does not have modelhost: that of an engine's own environment.

Run as a file, ``python -P .../foreign_start.py MODULE``: it makes the package that contains it importable by its name,
and nothing else, since the libraries beside that package are for the host's Python. The environment therefore always
runs the code of the host that starts it, wherever that is installed.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Final

PACKAGE: Final = "modelhost"


def command(python: str, module: str) -> tuple[str, ...]:
    """Return the command with which ``python`` starts ``module`` of this package."""
    # -P: nothing is to be imported from the folder of this file.
    return (python, "-P", str(Path(__file__).resolve()), module)


def main() -> None:
    """Run the module that the command line names as the main program."""
    folder = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
