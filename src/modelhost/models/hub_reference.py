"""The name of a model on the hub: ``org/name``, ``org/name:Q4_K_M`` or ``org/name:file.gguf``; ``gpt2`` has no owner.

A branch, tag or commit stands behind the repository: ``org/name@v1.0``, ``org/name@v1.0:Q4_K_M``.
Beside these the addresses that browsers show: of a repository, and of a file (``/resolve/main/x.gguf``, ``/blob/...``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from modelhost.config import environment

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
"""Repositories from before there were owners: everybody still calls them by their old names."""


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
        """The one text for it, from which :func:`parse_reference` makes the same again."""
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
