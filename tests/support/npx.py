"""A stand-in for ``npx``: it runs what the lock file brought, in the place of what it would download."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.mcp_peers import node_peers

PACKAGES: Final[Mapping[str, str]] = {
    "@modelcontextprotocol/server-filesystem": "server-filesystem",
    "@modelcontextprotocol/server-filesystem@latest": "server-filesystem",
    # Whose searches take an account: any server takes its place.
    "brave-search-mcp": "server-everything",
}
SCRIPT: Final = """#!/bin/sh
# npx -y PACKAGE ARGUMENTS
package=$2
shift 2
case "$package" in
{cases}  *) exit 1 ;;
esac
exec "$@"
"""


def npx_path(folder: Path) -> str:
    """Make ``npx`` in ``folder``; return a ``PATH`` on which it comes first."""
    peers = node_peers()
    cases = "".join(f'  {package}) set -- {shlex.join(peers[name])} "$@" ;;\n' for package, name in PACKAGES.items())
    folder.mkdir()
    program = folder / "npx"
    program.write_text(SCRIPT.format(cases=cases), "utf-8")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
