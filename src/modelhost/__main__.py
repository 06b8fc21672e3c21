"""``python -m modelhost``: the same command line as ``modelhost``."""

from __future__ import annotations

import sys

from modelhost.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
