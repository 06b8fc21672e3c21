"""The control groups that limit this process, those of a container among them, and the numbers in their files.

https://docs.kernel.org/admin-guide/cgroup-v2.html and, for the older kind, https://docs.kernel.org/admin-guide/cgroup-v1/.
A limit holds for all groups below it, so each group on the way from ours up to the topmost that can be seen is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGroup:
    """The folder with the files of one group; ``is_unified`` for the newer kind, in which they have other names."""

    folder: Path
    is_unified: bool


def control_groups(controller: str, root: Path = ROOT) -> Iterator[ControlGroup]:
    """Yield the groups that limit what ``controller`` (``memory``, ``cpu``) governs; none on a system without them."""
    mounts = root / "sys/fs/cgroup"
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # Controllers that are mounted together have a link each, except where nobody made one.
            mount = next((each for each in (mounts / controller, mounts / controllers) if each.is_dir()), mounts)
            yield from (ControlGroup(folder=folder, is_unified=False) for folder in _upwards(mount, path))
        elif not controllers:
            unified = mounts / "unified"
            mount = unified if unified.exists() else mounts
            yield from (ControlGroup(folder=folder, is_unified=True) for folder in _upwards(mount, path))


def number_in(path: Path) -> int | None:
    """Return the whole number that a file holds; ``None`` for none: there is no file, or no limit ("max", -1)."""
    text = text_of(path).strip()
    return int(text) if text.isdigit() else None


def text_of(path: Path) -> str:
    """Return what a file of the kernel holds; nothing if there is none."""
    try:
        return path.read_text()
    except OSError:
        return ""


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    # In a container the path may be the one outside, of which only the last part, or nothing, is to be seen here.
    inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in {"/", ".."}))
    for group in (inside, *inside.parents):
        if (folder := mount / group).is_dir():
            yield folder
