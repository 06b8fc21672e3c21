"""The cache of the hub on this machine, in huggingface_hub's layout, so that every tool shares one copy of the weights.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Beside it lies the listing of each commit
from which a file was chosen (``modelhost/COMMIT.json``), so that the same wish finds the same file without the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import constants

from modelhost.models.hub_files import HubFile, choose_files
from modelhost.models.hub_reference import HubReference

DEFAULT_REVISION = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class RepositoryCache:
    """The folder of one model repository below ``cache_dir`` (default: where ``HF_HOME`` and ``HF_HUB_CACHE`` say)."""

    def __init__(self, repository: str, cache_dir: Path | None = None) -> None:
        root = Path(constants.HF_HUB_CACHE) if cache_dir is None else cache_dir
        folder_name = "models--" + repository.replace("/", "--")
        self.folder = root / folder_name
        self.locks = root / ".locks" / folder_name

    def blob(self, file: HubFile) -> Path:
        """Return where the content of ``file`` is or will be."""
        return self.folder / "blobs" / file.blob

    def lock(self, file: HubFile) -> Path:
        """Return the lock file that huggingface_hub takes too."""
        return self.locks / f"{file.blob}.lock"

    def find(self, reference: HubReference) -> list[Path] | None:
        """Return the complete files of ``reference`` if all are here, without the network.

        Raises:
            DownloadFailed, EngineMissing: as :func:`choose_files`, on the listing of an earlier download.
        """
        commit = self._commit(reference.revision or DEFAULT_REVISION)
        listing = self._listing(commit) if commit else None
        if commit is None or listing is None:
            return None
        chosen = choose_files(listing, reference)
        paths = [self.folder / "snapshots" / commit / file.name for file in chosen]
        if all(_has_size(path, file.size_bytes) for path, file in zip(paths, chosen, strict=True)):
            return paths
        return None

    def publish(self, file: HubFile, commit: str) -> Path:
        """Make the blob of ``file`` visible under its name at ``commit``."""
        path = self.folder / "snapshots" / commit / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.unlink(missing_ok=True)
            depth = len(Path(file.name).parts) + 1
            path.symlink_to(Path(*[".."] * depth, "blobs", file.blob))
        return path

    def remember(self, revision: str | None, commit: str, listing: Sequence[HubFile]) -> None:
        """Note what ``revision`` means and which files there are, for :meth:`find`."""
        if not _COMMIT.fullmatch(revision or DEFAULT_REVISION):
            _write(self.folder / "refs" / (revision or DEFAULT_REVISION), commit)
        _write(self._listing_path(commit), json.dumps([asdict(file) for file in listing]))

    def _commit(self, revision: str) -> str | None:
        if _COMMIT.fullmatch(revision):
            return revision
        try:
            return (self.folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None

    def _listing(self, commit: str) -> list[HubFile] | None:
        try:
            return [HubFile(**entry) for entry in json.loads(self._listing_path(commit).read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return self._present(commit)

    def _present(self, commit: str) -> list[HubFile] | None:
        """Return what another tool downloaded of ``commit``: less than the repository has, but enough when offline."""
        snapshot = self.folder / "snapshots" / commit
        if not constants.HF_HUB_OFFLINE or not snapshot.is_dir():
            return None
        return [
            HubFile(name=str(path.relative_to(snapshot)), size_bytes=path.stat().st_size, sha256=None, blob="")
            for path in snapshot.rglob("*")
            if path.is_file()
        ]

    def _listing_path(self, commit: str) -> Path:
        return self.folder / "modelhost" / f"{commit}.json"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes
