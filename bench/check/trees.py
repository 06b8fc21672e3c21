"""The two trees that are compared: the working tree, and another revision in a temporary git worktree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "bench" / "reference"
WORKING_TREE: Final = "working tree"
WHERE: Final = "import modelhost; print(modelhost.__file__)"


class CannotCompare(Exception):
    """There is nothing to compare with; the message says why and what helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A revision of the source, and how processes come to run it."""

    name: str
    source: Path
    temporary: Path = field(default_factory=lambda: Path(gettempdir()))

    @property
    def environment(self) -> Mapping[str, str]:
        """What processes of this tree, and theirs, get besides the rest: the path goes before what is installed.

        The trees share no temporary folder: hosts of one revision clear away what those of another keep there.
        """
        return {"PYTHONPATH": str(self.source), "TMPDIR": str(self.temporary)}


def working_tree(**more: Path) -> Tree:
    """Return the tree that this module belongs to."""
    return Tree(name=WORKING_TREE, source=ROOT / "src", **more)


def reference_revision() -> str:
    """Return the revision in ``bench/reference``; lines that begin with ``#`` are comments."""
    lines = (line.strip() for line in REFERENCE.read_text("utf-8").splitlines())
    return next(line for line in lines if line and not line.startswith("#"))


@contextmanager
def trees(revision: str) -> Iterator[tuple[Tree, Tree]]:
    """Yield ``revision`` and the working tree; the checkout is removed afterwards.

    Raises:
        CannotCompare: there is no git, no repository or no such revision, or a tree would not run its own source.
    """
    commit = _commit(revision)
    with _checkout(commit) as folder, TemporaryDirectory(prefix="mh-") as one, TemporaryDirectory(prefix="mh-") as two:
        other = Tree(name=commit[:7], source=folder / "src", temporary=Path(one))
        found = other, working_tree(temporary=Path(two))
        for tree in found:
            _verify(tree)
        yield found


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix="modelhost-bench-") as folder:
        path = Path(folder) / f"modelhost-{commit[:7]}"
        try:
            _git("worktree", "add", "--detach", str(path), commit)
            yield path
        finally:
            if path.exists():
                _git("worktree", "remove", "--force", str(path))


def _commit(revision: str) -> str:
    if shutil.which("git") is None:
        raise CannotCompare("The check compares with another revision, and needs git for it. Install git.")
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=ROOT, capture_output=True, check=False)
    if inside.returncode:
        raise CannotCompare(f"{ROOT} is no git repository; the check needs a clone.")
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise CannotCompare(
            f"The repository has no revision {revision}. In a shallow clone: git fetch --unshallow. "
            "Another revision: --against REVISION."
        )
    return found.stdout.strip()


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompare(f"git {arguments[0]} {arguments[1]} failed: {done.stderr.strip()}")


def _verify(tree: Tree) -> None:
    """See that a process of ``tree`` runs the source of ``tree``, and compile it on the way.

    Raises:
        CannotCompare: it runs another one, or cannot be imported with what is installed here.
    """
    for module in ("modelhost", "modelhost.cli.main", "modelhost.http.listening"):
        done = in_tree(tree, "-c", f"import {module}; {WHERE}")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CannotCompare(
                f"{tree.name} does not start with the packages that are installed here: {last}. "
                "If its requirements differ, compare with a newer revision: --against REVISION."
            )
        if not Path(done.stdout.strip()).is_relative_to(tree.source):
            raise CannotCompare(f"Processes of {tree.name} run {done.stdout.strip()} instead of {tree.source}.")


def environment_of(tree: Tree, **more: str) -> dict[str, str]:
    """Return all variables of a process of ``tree``."""
    return {**os.environ, **tree.environment, **more}


def in_tree(tree: Tree, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments`` on the source of ``tree``."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment_of(tree, **environment),
        capture_output=True,
        text=True,
        check=False,
    )
