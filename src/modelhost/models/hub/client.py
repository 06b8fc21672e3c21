"""The network half of a download: list a repository, choose, transfer, publish in the cache."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_url, hf_raise_for_status, set_client_factory
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils._fixes import WeakFileLock
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_request_event_hook

from modelhost.config import network
from modelhost.config.network import check_network, through
from modelhost.errors import ConfigError, DownloadFailed
from modelhost.models.hub.cache import RepositoryCache, read_index
from modelhost.models.hub.progress import DownloadProgress, DownloadSource, FileProgress, OnFormat
from modelhost.models.hub.references import HubReference
from modelhost.models.hub.repository_files import HubFile, choose_files, format_of, index_of

MAX_FRUITLESS_ATTEMPTS = 5
CHUNK_BYTES = 1 << 20
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_WRONG_RANGE = 416


def fetch(  # noqa: PLR0913 (all are facts of one transfer)
    url: str,
    file: HubFile,
    destination: Path,
    *,
    headers: Mapping[str, str],
    on_bytes: Callable[[int], None],
    retry_wait_seconds: float,
) -> None:
    """Transfer ``file`` to ``destination``: resumed where an earlier attempt ended, and verified before it is used.

    ``on_bytes`` is called with the bytes that are there, earlier ones too. huggingface_hub 2 deletes what a download
    has brought when it fails, so that one of 20 GB that breaks would begin again in a new process.

    Raises:
        DownloadFailed: no space, or the content is not what the hub says it is.
        httpx2.TransportError, HfHubHTTPError: after the last attempt.
    """
    partial = _partial(destination)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.exists() and partial.stat().st_size > file.size_bytes:
        partial.unlink()
    require_space(file.size_bytes - _size(partial), partial.parent, what=file.name)
    fruitless = 0
    while _size(partial) < file.size_bytes or not partial.exists():
        before = _size(partial)
        try:
            _append(url, partial, headers, on_bytes)
        except (httpx2.TransportError, HfHubHTTPError) as error:
            fruitless = 0 if _size(partial) > before else fruitless + 1
            if fruitless >= MAX_FRUITLESS_ATTEMPTS or not _is_transient(error):
                raise
            time.sleep(retry_wait_seconds * 2**fruitless)
            on_bytes(_size(partial))  # gives it the chance to end the download although nothing arrives
    _verify(file, partial)
    partial.replace(destination)


def _append(url: str, partial: Path, headers: Mapping[str, str], on_bytes: Callable[[int], None]) -> None:
    done = _size(partial)
    request_headers = {**headers, "Accept-Encoding": "identity"}
    if done:
        request_headers["Range"] = f"bytes={done}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=request_headers, timeout=timeout) as response:
        if response.status_code == _WRONG_RANGE:
            partial.unlink(missing_ok=True)
        hf_raise_for_status(response)
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            done = 0
        with partial.open("ab" if done else "wb") as output:
            on_bytes(done)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                output.write(chunk)
                done += len(chunk)
                on_bytes(done)


def _is_transient(error: httpx2.TransportError | HfHubHTTPError) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _TRANSIENT_STATUS
    return not isinstance(error, (httpx2.ProxyError, httpx2.UnsupportedProtocol))


def missing_bytes(file: HubFile, destination: Path) -> int:
    """Return how much of ``file`` still has to be transferred to ``destination``."""
    return max(0, file.size_bytes - max(_size(destination), _size(_partial(destination))))


def require_space(need: int, folder: Path, *, what: str) -> None:
    """Check that ``need`` bytes more fit on the disk of ``folder``; raises DownloadFailed."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if need > free:
        raise DownloadFailed(
            f"{what} needs {need / 1e9:.1f} GB more and {folder} has {free / 1e9:.1f} GB free: make room, "
            "choose a smaller quantization, or set HF_HOME to another disk",
            need_bytes=need,
            free_bytes=free,
        )


def _partial(destination: Path) -> Path:
    return destination.with_name(f"{destination.name}.modelhost.incomplete")


def _verify(file: HubFile, partial: Path) -> None:
    size = _size(partial)
    if size == file.size_bytes and (file.sha256 is None or _sha256(partial) == file.sha256):
        return
    partial.unlink()
    raise DownloadFailed(
        f"{file.name} arrived damaged (its size or SHA-256 is not what the hub says) and was deleted: try again",
        file=file.name,
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def translated_errors(reference: HubReference, endpoint: str) -> Iterator[None]:
    """Raise what goes wrong inside as :class:`DownloadFailed`."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _failed(reference, _refused(reference, endpoint, error), error.response.status_code) from error
    except HFValidationError as error:
        raise _failed(reference, f"is not a name that the hub can have: write `org/name` ({error})") from error
    except OfflineModeIsEnabled as error:
        reason = "is not on this machine, and HF_HUB_OFFLINE forbids to download it: unset it, or give a local file"
        raise _failed(reference, reason) from error
    except httpx2.HTTPError as error:
        reason = (
            f"could not be downloaded from {endpoint}{through(endpoint)} ({error or type(error).__name__}): check the "
            "network (HTTPS_PROXY, HF_ENDPOINT) and try again; what has arrived is kept"
        )
        raise _failed(reference, reason) from error
    except OSError as error:
        raise _failed(reference, _disk_reason(error)) from error
    except ImportError as error:  # of what a proxy needs
        raise _failed(reference, f"could not be downloaded: {error} Or unset ALL_PROXY and HTTPS_PROXY") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"cannot be had: {endpoint} does not answer as a hub ({error}): check HF_ENDPOINT and the proxy"
        raise _failed(reference, reason) from error


def require_usable_network(endpoint: str, reference: HubReference) -> None:
    """Check that the proxy and certificates of the environment, if any, can be used for ``endpoint``.

    Raises:
        DownloadFailed: they cannot.
    """
    try:
        check_network(endpoint)
    except ConfigError as error:
        raise _failed(reference, f"could not be downloaded: {error.message}") from error


def _failed(reference: HubReference, reason: str, status: int | None = None) -> DownloadFailed:
    return DownloadFailed(f"{reference} {reason}", repository=reference.repository, status=status)


def _refused(reference: HubReference, endpoint: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    page = f"{endpoint}/{reference.repository}"
    reason = (
        f"could not be downloaded: {endpoint} answered{through(endpoint)} HTTP {status}; try again later, what has "
        "arrived is kept"
    )
    if isinstance(error, GatedRepoError):
        reason = f"is gated: accept its licence at {page} and set HF_TOKEN to a token of that account"
    elif isinstance(error, RepositoryNotFoundError):
        reason = f"is not on {endpoint}, or it is private: check its name, or set HF_TOKEN to a token that may read it"
    elif isinstance(error, RevisionNotFoundError):
        reason = f"has no revision {reference.revision!r}: look at {page}/branches"
    elif isinstance(error, RemoteEntryNotFoundError):
        reason = f"lost the file while it was being downloaded: look at {page}/tree/main"
    elif status in {401, 403}:
        reason = f"is private or gated (HTTP {status}): check its name, check HF_TOKEN, accept the licence at {page}"
    elif status == 429:
        reason = "was refused because of too many requests: wait a few minutes, or set HF_TOKEN"
    return reason


def _disk_reason(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "does not fit on the disk: make room, or set HF_HOME to another disk; what has arrived is kept"
    return f"could not be stored ({error}): check the folder, or set HF_HOME to one that can be written"


# Both are public as huggingface_hub.utils.X, but exported there only in a way that type checkers do not follow.


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


# Not exported, though a factory needs it: it sees to HF_HUB_OFFLINE and to the ids of requests.

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
