"""Counting the instructions of the hot paths with valgrind: figures that hardly depend on what else a machine does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from bench.check.hot_paths import MARK, WITH_VALGRIND
from bench.check.trees import ROOT, Tree, environment_of

HOW_TO_INSTALL: Final = (
    "valgrind is not installed, so no instructions were counted. Debian and Ubuntu: apt-get install valgrind"
)
SECONDS: Final = 600.0
SUMMARY: Final = re.compile(r"^summary: (\d+)", re.MULTILINE)
MILLION: Final = 1e6
Counts = Mapping[str, tuple[float, ...]]
"""Millions of instructions of one request, by hot path, for each block."""


class NotCounted(Exception):
    """The hot paths could not be run; the message says why."""


def can_count() -> bool:
    """Whether valgrind is there, with the tool that it is spoken to with."""
    return sys.platform == "linux" and all(shutil.which(command) for command in ("valgrind", "vgdb"))


def count(trees: Sequence[Tree], log: Path) -> list[Counts]:
    """Return the counts of each tree; all are run at the same time.

    Raises:
        NotCounted: one of them could not be.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda tree: count_tree(tree, log), trees))


def count_tree(tree: Tree, log: Path) -> Counts:
    """Run the hot paths of ``tree`` under valgrind; raises as :func:`count`."""
    with tempfile.TemporaryDirectory() as folder, log.open("ab") as errors:
        counted = Path(folder) / "callgrind"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
        command += [f"--dump-before={MARK}", f"--callgrind-out-file={counted}"]
        command += [sys.executable, "-m", "bench.check.hot_paths", folder, WITH_VALGRIND]
        # The same order in every set and dictionary of text, in both trees.
        environment = environment_of(tree, PYTHONHASHSEED="0")
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, check=False, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise NotCounted(f"the hot paths of {tree.name} took longer than {SECONDS:.0f} seconds") from None
        if done.returncode:
            raise NotCounted(f"the hot paths of {tree.name} ended with {done.returncode}; their log is {log}")
        blocks = [json.loads(line) for line in done.stdout.splitlines()]
        return _counts_of(blocks, counted)


def _counts_of(blocks: Sequence[Mapping[str, int | str]], counted: Path) -> Counts:
    """Return the counts of the main thread; the first file holds what came before the first block."""
    found: dict[str, tuple[float, ...]] = {}
    for number, block in enumerate(blocks, 2):
        summary = SUMMARY.search(counted.with_name(f"{counted.name}.{number}-01").read_text("utf-8"))
        assert summary is not None, "callgrind writes one into every file"
        each = int(summary[1]) / int(block["times"]) / MILLION
        found[str(block["name"])] = (*found.get(str(block["name"]), ()), each)
    return found
