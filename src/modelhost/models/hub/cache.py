"""The cache of the hub on this machine, in huggingface_hub's layout, so that every tool shares one copy of the weights;
and from a hub id to the files in it, downloaded if they are not there.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Beside it is the listing of each commit from
which a file was chosen (``modelhost/COMMIT.json``), so that the same reference finds the same file offline.

The variables of huggingface_hub (``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``,
``HUGGING_FACE_HUB_TOKEN``) are read by that library. Its client is imported only when something has to be downloaded.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from modelhost import lazy
from modelhost.engines.diffusers.layout import INDEX
from modelhost.engines.installed import engine_with_layout
from modelhost.engines.transformers.layout import codec_in, codec_of
from modelhost.errors import ConfigError, DownloadFailed, ModelFileMissing
from modelhost.models.files.hf_directory import is_hf_directory
from modelhost.models.files.model_files import SAFETENSORS, part_names, servable_models
from modelhost.models.hub.progress import DownloadProgress, DownloadSource, OnFormat
from modelhost.models.hub.references import DEFAULT_REVISION, HubReference, parse_reference
from modelhost.models.hub.repository_files import FORMATS, HubFile, choose_files, index_of, is_needed

try:
    from huggingface_hub import constants
except ValueError as error:  # it reads its variables at once
    raise ConfigError(f"A variable of the hub is set wrong ({error}): check those that begin with HF_.") from error

_FOLDER_PREFIX = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadedModel:
    """A model in the cache. ``path`` is the file to serve or the directory; ``size_bytes`` is that of all its files."""

    repository: str
    revision: str
    """The branch or tag that means it, else its commit."""
    path: Path
    size_bytes: int


class RepositoryCache:
    """The folder of one model repository below ``cache_dir`` (default: where ``HF_HOME`` and ``HF_HUB_CACHE`` say)."""

    def __init__(self, repository: str, cache_dir: Path | None = None) -> None:
        root = cache_root(cache_dir)
        folder_name = _FOLDER_PREFIX + repository.replace("/", "--")
        self.folder = root / folder_name
        self.locks = root / ".locks" / folder_name

    def blob(self, file: HubFile) -> Path:
        """Return where the content of ``file`` is or will be."""
        return self.folder / "blobs" / file.blob

    def lock(self, file: HubFile) -> Path:
        """Return the lock file that huggingface_hub takes too."""
        return self.locks / f"{file.blob}.lock"

    def find(self, reference: HubReference) -> list[Path] | None:
        """Return the complete files of ``reference`` if all that are needed are here, without the network.

        Raises:
            DownloadFailed: as :func:`choose_files`, on the listing of an earlier download.
        """
        commit = self._commit(reference.revision or DEFAULT_REVISION)
        listing = self._listing(commit) if commit else None
        if commit is None or listing is None:
            return None
        index = index_of(listing, reference)
        stated = None if index is None else self.folder / "snapshots" / commit / index.name
        if stated is not None and not stated.is_file():
            return None
        read = None if stated is None else read_index(stated, reference)
        chosen = [file for file in choose_files(listing, reference, read) if is_needed(file)]
        paths = [self.folder / "snapshots" / commit / file.name for file in chosen]
        pairs = zip(paths, chosen, strict=True)
        is_whole = all(path.is_file() and path.stat().st_size == file.size_bytes for path, file in pairs)
        return paths if is_whole else None

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
        """Store the commit of ``revision`` and its list of files, for :meth:`find`."""
        if not _COMMIT.fullmatch(revision or DEFAULT_REVISION):
            _write(self.folder / "refs" / (revision or DEFAULT_REVISION), commit)
        _write(self._listing_path(commit), json.dumps([asdict(file) for file in listing]))

    def _commit(self, revision: str) -> str | None:
        if _COMMIT.fullmatch(revision):
            return revision
        if revision.startswith("/") or ".." in revision:  # no name that git allows, but the path of another file
            return None
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


def read_index(path: Path, reference: HubReference) -> dict[str, Any]:
    """Return the index of a pipeline at ``path``; raises DownloadFailed if it is damaged."""
    try:
        index = json.loads(path.read_bytes())
    except ValueError as error:
        raise DownloadFailed(f"{reference.repository}: its {INDEX} is damaged: {error}") from error
    if not isinstance(index, dict):
        raise DownloadFailed(f"{reference.repository}: its {INDEX} is damaged: it is no JSON object")
    return index


def cache_root(cache_dir: Path | None = None) -> Path:
    """Return the folder of all repositories."""
    return Path(constants.HF_HUB_CACHE) if cache_dir is None else cache_dir


def downloaded_models(cache_dir: Path | None = None) -> list[DownloadedModel]:
    """Return the models in the cache, those of other tools too; each once, under the newest commit that has it."""
    root = cache_root(cache_dir)
    folders = sorted(root.glob(f"{_FOLDER_PREFIX}*--*")) if root.is_dir() else []
    return [model for folder in folders for model in _models_in(folder)]


def cached_folder(repository: str, cache_dir: Path | None = None) -> Path:
    """Return the folder that holds all that is in the cache of ``repository``, transfers that broke off too.

    Raises:
        ModelFileMissing: there is nothing of it.
    """
    root = cache_root(cache_dir)
    reference = parse_reference(repository)
    folder = None if reference is None else RepositoryCache(reference.repository, root).folder
    if folder is None or folder.is_symlink() or not folder.is_dir():
        known = sorted({model.repository for model in downloaded_models(cache_dir)})
        close = get_close_matches(repository, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it holds {', '.join(known) or 'no models'}."
        raise ModelFileMissing(
            f"{repository} is not in the cache {root}: {hint} Only what was downloaded can be removed; "
            "files elsewhere are yours to delete",
            path=str(root),
        )
    return folder


def remove_repository(repository: str, cache_dir: Path | None = None) -> int:
    """Delete ``repository`` from the cache and return the bytes that are free now. Links are removed, not followed.

    Raises:
        ModelFileMissing: there is nothing of it, or it cannot be deleted.
    """
    folder = cached_folder(repository, cache_dir)
    freed_bytes = disk_bytes(folder)
    locks = folder.parent / ".locks" / folder.name
    try:
        shutil.rmtree(folder)
        if locks.is_dir():
            shutil.rmtree(locks)
    except OSError as error:
        raise ModelFileMissing(f"{error.filename} cannot be deleted ({error.strerror})", path=str(folder)) from error
    return freed_bytes


def _models_in(folder: Path) -> Iterator[DownloadedModel]:
    repository = folder.name.removeprefix(_FOLDER_PREFIX).replace("--", "/")
    revisions = {path.read_text().strip(): path.name for path in (folder / "refs").glob("*") if path.is_file()}
    snapshots = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
    known: set[tuple[str, ...]] = set()
    for snapshot in sorted(snapshots, key=lambda path: (path.name in revisions, path.stat().st_mtime), reverse=True):
        revision = revisions.get(snapshot.name, snapshot.name)
        names = [str(path.relative_to(snapshot)) for path in snapshot.rglob("*.gguf")]
        for name in servable_models(names):
            parts = [snapshot / name]
            parts = [parts[0].with_name(part) for part in part_names(parts[0].name)]
            yield from _model(repository, revision, parts[0], parts, known)
        if _is_model(path.name for path in snapshot.iterdir()):
            files = sorted(path for path in snapshot.rglob("*") if not path.is_dir())
            yield from _model(repository, revision, snapshot, files, known)


def _is_model(names: Iterable[str]) -> bool:
    """Whether a directory with files of these ``names`` is a model."""
    found = set(names)
    return is_hf_directory(found) or engine_with_layout(found) is not None


def _model(
    repository: str, revision: str, path: Path, files: Sequence[Path], known: set[tuple[str, ...]]
) -> Iterator[DownloadedModel]:
    """Yield the model at ``path`` if all of its ``files`` are here and not ``known``, and note them."""
    blobs = tuple(str(file.resolve()) for file in files)
    if blobs in known or not all(file.is_file() for file in files):
        return
    known.add(blobs)
    size_bytes = sum(file.stat().st_size for file in files)
    yield DownloadedModel(repository=repository, revision=revision, path=path, size_bytes=size_bytes)


def disk_bytes(folder: Path) -> int:
    """Return the disk space of the files below ``folder``, without links."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids requests to the hub."""
    return bool(constants.HF_HUB_OFFLINE)


def download(
    reference: HubReference,
    progress: DownloadProgress | None = None,
    *,
    source: DownloadSource | None = None,
    refresh: bool = False,
    on_format: OnFormat | None = None,
) -> Path:
    """Return the file of the model that ``reference`` names; of a split model the first part, the others are beside it;
    of one in safetensors, or of a pipeline, its directory. The codec that a Dia needs is downloaded as well.

    Blocks: call it in a thread. What is in the cache is returned without the network, unless ``refresh`` checks the hub
    for a newer commit of its branch.

    Raises:
        DownloadFailed: the hub did not give it; the message says why and what to do.
    """
    source = source or DownloadSource()
    cached = None if refresh else cached_model(reference, source)
    if cached is not None:
        return cached
    path = served_path(lazy.hub_client.download_from_hub(reference, progress, source, on_format))
    if (codec := codec_reference(path)) is not None:
        download(codec, progress, source=source, refresh=refresh)
    return path


def cached_model(reference: HubReference, source: DownloadSource | None = None) -> Path | None:
    """As :func:`download`, of what is in the cache already; ``None``: something is not. Raises as that does."""
    files = RepositoryCache(reference.repository, source.cache_dir if source else None).find(reference)
    if not files:
        return None
    path, codec = served_path(files), codec_reference(served_path(files))
    return path if codec is None or cached_model(codec, source) is not None else None


def codec_reference(path: Path) -> HubReference | None:
    """Return the codec that the model at ``path`` needs from the hub; ``None``: it needs none, or has it."""
    name = codec_of(path) if path.is_dir() else None
    if name is None or codec_in(path, name) is not None:
        return None
    reference = parse_reference(name)
    return None if reference is None else replace(reference, wanted=SAFETENSORS)


def served_path(files: Sequence[Path]) -> Path:
    """Return what to serve of a model's ``files``: the first, or the directory of a model that is one."""
    return files[0].parent if files[0].name in FORMATS else files[0]
