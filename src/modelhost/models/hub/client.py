"""The network half of a download: list a repository, choose, transfer, publish in the cache."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url, set_client_factory
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoSibling

# Both are public as huggingface_hub.utils.X, but exported there only in a way that type checkers do not follow.
from huggingface_hub.utils._fixes import WeakFileLock
from huggingface_hub.utils._headers import build_hf_headers

# Not exported, though a factory needs it: it sees to HF_HUB_OFFLINE and to the ids of requests.
from huggingface_hub.utils._http import hf_request_event_hook

from modelhost.config import network
from modelhost.errors import DownloadFailed
from modelhost.models.hub.cache import RepositoryCache, read_index
from modelhost.models.hub.errors import require_usable_network, translated_errors
from modelhost.models.hub.progress import DownloadProgress, DownloadSource, FileProgress, OnFormat
from modelhost.models.hub.references import HubReference
from modelhost.models.hub.repository_files import HubFile, choose_files, format_of, index_of
from modelhost.models.hub.transfer import fetch, missing_bytes, require_space

LISTING_TIMEOUT_SECONDS = 30.0
_BLOB = re.compile(r"[0-9a-f]{40,64}")


def download_from_hub(
    reference: HubReference, progress: DownloadProgress | None, source: DownloadSource, on_format: OnFormat | None
) -> list[Path]:
    """Return the files of ``reference``, downloading what is not in the cache; raises as ``download``."""
    endpoint = source.endpoint or constants.ENDPOINT
    cache = RepositoryCache(reference.repository, source.cache_dir)
    api = HfApi(endpoint=endpoint, token=source.token)
    with translated_errors(reference, endpoint):
        require_usable_network(endpoint, reference)
        if network.is_loopback(endpoint):
            bypass_proxies_for_loopback()
        commit, listing = _list_files(api, reference)
        index = _index(cache, listing, reference, commit, source)
        chosen = choose_files(listing, reference, index)
        if on_format is not None:
            on_format(format_of(chosen))
        _require_space(cache, chosen)
        for part, file in enumerate(chosen, 1):
            report = partial(_report, progress, chosen, part)
            _ensure_blob(cache, file, _url(reference, commit, file, endpoint), source, report)
        paths = [cache.publish(file, commit) for file in chosen]
        cache.remember(reference.revision, commit, listing)
    return paths


def _list_files(api: HfApi, reference: HubReference) -> tuple[str, list[HubFile]]:
    try:
        info = api.model_info(
            reference.repository, revision=reference.revision, files_metadata=True, timeout=LISTING_TIMEOUT_SECONDS
        )
    except GatedRepoError:
        raise
    except RepositoryNotFoundError as error:
        similar = _similar(api, reference.repository)
        if not similar:
            raise
        raise DownloadFailed(
            f"{reference.repository} is not on {api.endpoint}, or it is private: did you mean {' or '.join(similar)}? "
            "For a private one set HF_TOKEN",
            repository=reference.repository,
            suggestions=similar,
        ) from error
    if info.sha is None:
        raise DownloadFailed(f"{api.endpoint} does not answer as a model hub: check HF_ENDPOINT")
    return info.sha, [file for file in map(_hub_file, info.siblings or []) if _is_safe(file)]


def _index(
    cache: RepositoryCache, listing: Sequence[HubFile], reference: HubReference, commit: str, source: DownloadSource
) -> dict[str, Any] | None:
    """Return what says which files are the model, where there is such a file; it is transferred first."""
    file = index_of(listing, reference)
    if file is None:
        return None
    endpoint = source.endpoint or constants.ENDPOINT
    _ensure_blob(cache, file, _url(reference, commit, file, endpoint), source, lambda _: None)
    return read_index(cache.blob(file), reference)


def _similar(api: HfApi, repository: str) -> list[str]:
    """Return repositories of a similar name; none if the hub does not answer."""
    try:
        return [model.id for model in api.list_models(search=repository.rsplit("/", 1)[-1], limit=3)]
    except (HfHubHTTPError, httpx2.HTTPError, ValueError):
        return []


def _hub_file(sibling: RepoSibling) -> HubFile:
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    size = sibling.lfs.size if sibling.lfs else sibling.size
    return HubFile(
        name=sibling.rfilename, size_bytes=size or 0, sha256=sha256, blob=sha256 or sibling.blob_id or sibling.rfilename
    )


def _is_safe(file: HubFile) -> bool:
    """Whether the names that the hub gave stay inside the cache folder."""
    name = PurePosixPath(file.name)
    return not name.is_absolute() and ".." not in name.parts and _BLOB.fullmatch(file.blob) is not None


def _url(reference: HubReference, commit: str, file: HubFile, endpoint: str) -> str:
    return hf_hub_url(reference.repository, file.name, revision=commit, endpoint=endpoint)


def _require_space(cache: RepositoryCache, chosen: Sequence[HubFile]) -> None:
    """Check that all of them fit on the disk before the first is transferred; raises DownloadFailed."""
    missing = sum(missing_bytes(file, cache.blob(file)) for file in chosen)
    require_space(
        missing, cache.folder, what=chosen[0].name if len(chosen) == 1 else f"The model ({len(chosen)} files)"
    )


def _report(progress: DownloadProgress | None, chosen: Sequence[HubFile], part: int, done_bytes: int) -> None:
    if progress is not None:
        file = chosen[part - 1]
        progress(
            FileProgress(
                file=file.name,
                done_bytes=done_bytes,
                total_bytes=file.size_bytes,
                part=part,
                parts=len(chosen),
                earlier_bytes=sum(each.size_bytes for each in chosen[: part - 1]),
                all_bytes=sum(each.size_bytes for each in chosen),
                sha256=file.sha256,
            )
        )


def _ensure_blob(
    cache: RepositoryCache, file: HubFile, url: str, source: DownloadSource, report: Callable[[int], None]
) -> None:
    """Transfer ``file`` unless its content is here; a second process that wants it waits for the first."""
    blob = cache.blob(file)
    lock = cache.lock(file)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.is_file() and blob.stat().st_size == file.size_bytes:
            return
        fetch(
            url,
            file,
            blob,
            headers=build_hf_headers(token=source.token),
            on_bytes=report,
            retry_wait_seconds=source.retry_wait_seconds,
        )


LOOPBACK: Final[Mapping[str, None]] = {
    f"all://{host}": None for host in ("localhost", "*.localhost", "127.0.0.0/8", "[::1]", "0.0.0.0/32")
}
"""Where no proxy is used, in the form of httpx2's ``mounts``."""


@cache
def bypass_proxies_for_loopback() -> None:
    """Have huggingface_hub connect to this machine without the proxies of the environment; elsewhere it uses them.

    Once in a process: a change of the factory ends the requests at work.
    """
    set_client_factory(_client)


def _client() -> httpx2.Client:
    options: dict[str, Any] = {
        "event_hooks": {"request": [hf_request_event_hook]},
        "follow_redirects": True,
        "timeout": None,
    }
    try:
        return httpx2.Client(**options, mounts=LOOPBACK)
    except (ImportError, ValueError):  # a proxy that cannot be used, and is not needed
        return httpx2.Client(**options, trust_env=False, verify=httpx2.create_ssl_context())
