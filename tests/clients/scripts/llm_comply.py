"""llm-comply: all of its tests of Anthropic's Messages API.

Run as ``python -P llm_comply.py BASE_URL MODEL`` with the Python that has the client. The model accepts images.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

URL, MODEL = sys.argv[1:]
TESTS = 8
"""Those that there are at least, besides those that it skips."""

COMMAND = [str(Path(sys.executable).with_name("llm-comply")), "--format", "anthropic", "--json", "--verbose"]
# It tries thinking with models of some names only.
DONE = subprocess.run(
    [*COMMAND, "--base-url", URL, "--api-key", "unused", "--model", MODEL, "--timeout", "120"],
    capture_output=True,
    text=True,
    check=False,
)
SUMMARY = json.loads(DONE.stdout)["summary"]
if DONE.returncode or SUMMARY["failed"] or SUMMARY["passed"] < TESTS:
    sys.exit(f"not all tests have passed:\n{DONE.stdout}\n{DONE.stderr}")
