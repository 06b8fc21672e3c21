"""One file over HTTP into the cache: resumed where an earlier attempt ended, and verified before it is used.

huggingface_hub 2 writes each download to a temporary file of its own and deletes it on failure, so that a download of
20 GB that breaks begins again in a new process; hence this transfer. The partial file lies beside the blob, guarded by
the same lock.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_session, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError

from modelhost.errors import DownloadFailed
from modelhost.models.hub.repository_files import HubFile

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
    """Transfer ``file`` to ``destination``. ``on_bytes`` is called with the bytes that are there, earlier ones too.

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
