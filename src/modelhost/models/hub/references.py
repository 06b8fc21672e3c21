"""What names a model that is not a file here: a reference to the hub, or the URLs of servers.

A hub reference is ``org/name``, ``org/name:Q4_K_M`` or ``org/name:file.gguf``; ``gpt2`` has no owner. A branch, tag or
commit stands behind the repository: ``org/name@v1.0``, ``org/name@v1.0:Q4_K_M``. The addresses that browsers show are
accepted too: of a repository, and of a file (``/resolve/main/x.gguf``, ``/blob/...``).
Servers are base URLs, ``http://gpu-box:8000/v1``, several separated by commas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from modelhost.config import environment
from modelhost.errors import ConfigError

DEFAULT_REVISION: Final = "main"
HUB: Final = "https://huggingface.co/"
_REPOSITORY: Final = r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
_REVISION: Final = r"(?P<revision>[A-Za-z0-9][\w./-]*)"
_HOST: Final = r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/"
_REFERENCE: Final = re.compile(
    rf"^(?:{_HOST}|hf://)?{_REPOSITORY}(?:@{_REVISION}|/)?(?::(?P<wanted>[^:\s]+))?$", re.ASCII
)
_FILE: Final = re.compile(
    rf"^{_HOST}{_REPOSITORY}/(?:resolve|blob|raw)/"
    r"(?P<revision>refs/[^/]+/[^/?#]+|[^/?#]+)/(?P<file>[^?#\s]+)(?:[?#].*)?$",
    re.ASCII,
)

_OLDEST: Final = {
    **{name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")},
    "distilgpt2": "distilbert/distilgpt2",
}
"""Repositories from before the hub had owners, which are still called by their old names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubReference:
    """A repository, and which of its GGUF files is wanted: a name, a quantization, or ``None`` for the usual one."""

    repository: str
    wanted: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.wanted}" if self.wanted else self.repository

    @property
    def id(self) -> str:
        """Its canonical text, which :func:`parse_reference` accepts."""
        at = f"@{self.revision}" if self.revision not in (None, DEFAULT_REVISION) else ""
        return f"{self.repository}{at}{f':{self.wanted}' if self.wanted else ''}"


def parse_reference(text: str, revision: str | None = None) -> HubReference | None:
    """Return the reference that ``text`` is, or ``None`` if it does not look like one."""
    if (file := _file_in(text)) is not None:
        name, given = unquote(file["file"]), unquote(file["revision"])
        return HubReference(repository=file["repository"], wanted=name, revision=revision or given)
    match = _REFERENCE.match(_OLDEST.get(text, text))
    if match is None:
        return None
    return HubReference(repository=match["repository"], wanted=match["wanted"], revision=revision or match["revision"])


def is_file_address(text: str) -> bool:
    """Whether ``text`` is the address of a file on the hub, with or without ``https://``."""
    return _file_in(text) is not None


def _file_in(text: str) -> re.Match[str] | None:
    mirror = environment.current().get("HF_ENDPOINT", "").rstrip("/")
    if mirror and text.startswith(f"{mirror}/"):
        text = HUB + text.removeprefix(f"{mirror}/")
    return _FILE.match(text)


def is_path(model: str) -> bool:
    """Whether ``model`` can only be meant as a path by its text alone: ``./x``, ``/x``, ``x.gguf``."""
    if model.startswith((".", "/", "~")) or "\\" in model:
        return True
    return model.lower().endswith(".gguf") and ":" not in model and not is_file_address(model)


SCHEMES = ("http://", "https://")


def is_url(model: str | None) -> bool:
    """Whether ``model`` is the address of a server; that of a model on the hub is not."""
    return model is not None and model.lower().startswith(SCHEMES) and parse_reference(model) is None


def server_urls(model: str | None) -> tuple[str, ...]:
    """Return the addresses in ``model``.

    Raises:
        ConfigError: it is something else, or one of them is not the base URL of an API; a secret in it is not repeated.
    """
    given = [url.strip() for url in (model or "").split(",") if url.strip()]
    if not given:
        raise ConfigError(
            "model: the engine remote needs the URL of a server, such as http://there:8000/v1", param="model"
        )
    for url in given:
        if problem := url_problem(url):
            raise ConfigError(f"model: {problem}", param="model")
    return tuple(url.rstrip("/") for url in given)


def url_problem(url: str) -> str:
    """Return what is wrong with the address of a server; empty if nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"not a URL: {error}"
    if parts.scheme.lower() not in {"http", "https"} or not host or port == 0:
        return f'"{_shown(parts)}" is not the URL of a server, such as http://there:8000/v1'
    if parts.username is not None or parts.password is not None:
        return f"the URL of {host} holds a name or a password: give the key as api_key (--remote-api-key)"
    if parts.query or parts.fragment:
        return f"{_shown(parts)} is followed by more than a path: give the base URL of the API"
    return ""


def server_name(model: str | None) -> str:
    """Return the name of a model of which only the server's address is known."""
    first = (model or "").split(",")[0].strip()
    return "remote" if url_problem(first) else urlsplit(first).hostname or "remote"


def _shown(parts: SplitResult) -> str:
    """The address without parts that may hold secrets."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
