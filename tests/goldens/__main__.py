"""Rewrites the recorded files: ``python -m tests.goldens [TOPIC ...]``, or ``make goldens``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.goldens import files
from tests.goldens.topics import TOPICS


def main(names: Sequence[str]) -> int:
    """Record the topics called ``names``, or all of them."""
    unknown = set(names) - set(TOPICS)
    if unknown:
        sys.stderr.write(f"there is no topic {', '.join(sorted(unknown))}; there is: {', '.join(TOPICS)}\n")
        return 2
    for name in names or TOPICS:
        recorded = TOPICS[name]()
        has_changed = bool(files.difference(recorded))
        files.write(recorded)
        sys.stdout.write(f"{name}: {'rewritten' if has_changed else 'as it was'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
