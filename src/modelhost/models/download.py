"""From a hub id to the files of a model on this machine.

The variables of huggingface_hub (``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``,
``HUGGING_FACE_HUB_TOKEN``) are read by that library. Its client is imported only when something has to be downloaded:
it takes 24 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelhost.errors import ShuttingDown
from modelhost.models.hf_directory import CONFIG
from modelhost.models.hub_cache import RepositoryCache
from modelhost.models.hub_files import Format
from modelhost.models.hub_reference import HubReference

OnFormat = Callable[[Format], object]
"""Told what a model is in, from the list of its files, before any of them is transferred; what it raises ends that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProgress:
    """How far the download of one file is; ``part`` of ``parts`` counts from 1."""

    file: str
    done_bytes: int
    total_bytes: int
    part: int
    parts: int
    earlier_bytes: int = 0
    """Of the parts before this one."""
    all_bytes: int = 0
    """Of all parts; 0 is those of this file."""

    @property
    def fraction(self) -> float:
        """How much of all parts is here, from 0 to 1."""
        return (self.earlier_bytes + self.done_bytes) / max(self.all_bytes or self.total_bytes, 1)


class DownloadProgress(Protocol):
    """Told about each step; an exception from it ends the download, and what has arrived is kept."""

    def __call__(self, progress: FileProgress) -> None: ...


class StoppableProgress:
    """Tells ``on_progress`` about a download, and can end it: it runs in a thread, which no cancellation reaches."""

    def __init__(self, on_progress: DownloadProgress | None) -> None:
        self._on_progress = on_progress
        self._is_stopped = False

    def stop(self) -> None:
        """End the download at its next step; what has arrived is kept."""
        self._is_stopped = True

    def __call__(self, progress: FileProgress) -> None:
        if self._is_stopped:
            raise ShuttingDown("The host was stopped while it downloaded the model.")
        if self._on_progress is not None:
            self._on_progress(progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where to download from and to; ``None`` is what huggingface_hub's variables say."""

    token: str | None = None
    endpoint: str | None = None
    cache_dir: Path | None = None
    retry_wait_seconds: float = 1.0


def download(
    reference: HubReference,
    progress: DownloadProgress | None = None,
    *,
    source: Source | None = None,
    refresh: bool = False,
    on_format: OnFormat | None = None,
) -> Path:
    """Return the file of the model that ``reference`` names; of a split model the first part, the others lie beside it;
    of one in safetensors its directory.

    Blocks: call it in a thread. What is in the cache is returned without the network, unless ``refresh`` asks the hub
    whether its branch has moved on.

    Raises:
        DownloadFailed: the hub did not give it; the message says why and what to do.
    """
    source = source or Source()
    cached = None if refresh else cached_model(reference, source)
    if cached is not None:
        return cached
    from modelhost.models.hub_client import download_from_hub  # noqa: PLC0415 (24 MB, see above)

    return model_of(download_from_hub(reference, progress, source, on_format))


def cached_model(reference: HubReference, source: Source | None = None) -> Path | None:
    """As :func:`download`, of what is in the cache already; ``None``: something is not. Raises as that does."""
    files = RepositoryCache(reference.repository, source.cache_dir if source else None).find(reference)
    return model_of(files) if files else None


def model_of(files: Sequence[Path]) -> Path:
    """Return what to serve of a model's ``files``: the first, or of one in safetensors their directory."""
    return files[0].parent if files[0].name == CONFIG else files[0]
