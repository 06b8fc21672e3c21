"""From a hub id to the files of a model on this machine.

The variables of huggingface_hub (``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_CACHE``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``,
``HUGGING_FACE_HUB_TOKEN``) are read by that library. Its client is imported only when something has to be downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelhost import lazy
from modelhost.models.hub.cache import RepositoryCache
from modelhost.models.hub.progress import DownloadProgress, DownloadSource, OnFormat
from modelhost.models.hub.references import HubReference
from modelhost.models.hub.repository_files import FORMATS


def download(
    reference: HubReference,
    progress: DownloadProgress | None = None,
    *,
    source: DownloadSource | None = None,
    refresh: bool = False,
    on_format: OnFormat | None = None,
) -> Path:
    """Return the file of the model that ``reference`` names; of a split model the first part, the others are beside it;
    of one in safetensors, or of a pipeline, its directory.

    Blocks: call it in a thread. What is in the cache is returned without the network, unless ``refresh`` checks the hub
    for a newer commit of its branch.

    Raises:
        DownloadFailed: the hub did not give it; the message says why and what to do.
    """
    source = source or DownloadSource()
    cached = None if refresh else cached_model(reference, source)
    if cached is not None:
        return cached
    return served_path(lazy.hub_client.download_from_hub(reference, progress, source, on_format))


def cached_model(reference: HubReference, source: DownloadSource | None = None) -> Path | None:
    """As :func:`download`, of what is in the cache already; ``None``: something is not. Raises as that does."""
    files = RepositoryCache(reference.repository, source.cache_dir if source else None).find(reference)
    return served_path(files) if files else None


def served_path(files: Sequence[Path]) -> Path:
    """Return what to serve of a model's ``files``: the first, or the directory of a model that is one."""
    return files[0].parent if files[0].name in FORMATS else files[0]
