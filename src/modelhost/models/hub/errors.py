"""Translates the errors of huggingface_hub into :class:`DownloadFailed`, with what to do about them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import errors

from modelhost.config.network import check_network, through
from modelhost.errors import ConfigError, DownloadFailed
from modelhost.models.hub.references import HubReference


@contextmanager
def translated_errors(reference: HubReference, endpoint: str) -> Iterator[None]:
    """Raise what goes wrong inside as :class:`DownloadFailed`."""
    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _failed(reference, _refused(reference, endpoint, error), error.response.status_code) from error
    except errors.HFValidationError as error:
        raise _failed(reference, f"is not a name that the hub can have: write `org/name` ({error})") from error
    except errors.OfflineModeIsEnabled as error:
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


def _refused(reference: HubReference, endpoint: str, error: errors.HfHubHTTPError) -> str:
    status = error.response.status_code
    page = f"{endpoint}/{reference.repository}"
    reason = (
        f"could not be downloaded: {endpoint} answered{through(endpoint)} HTTP {status}; try again later, what has "
        "arrived is kept"
    )
    if isinstance(error, errors.GatedRepoError):
        reason = f"is gated: accept its licence at {page} and set HF_TOKEN to a token of that account"
    elif isinstance(error, errors.RepositoryNotFoundError):
        reason = f"is not on {endpoint}, or it is private: check its name, or set HF_TOKEN to a token that may read it"
    elif isinstance(error, errors.RevisionNotFoundError):
        reason = f"has no revision {reference.revision!r}: look at {page}/branches"
    elif isinstance(error, errors.RemoteEntryNotFoundError):
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
