"""The name of a model on the hub: ``org/name``, ``org/name:Q4_K_M`` or ``org/name:file.gguf``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_REFERENCE = re.compile(
    r"^(?:https?://(?:huggingface\.co|hf\.co)/|hf\.co/|hf://)?"
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/?(?::(?P<wanted>[^:\s]+))?$",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubReference:
    """A repository, and which of its GGUF files is wanted: a name, a quantization, or ``None`` for the usual one."""

    repository: str
    wanted: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.wanted}" if self.wanted else self.repository


def parse_reference(text: str, revision: str | None = None) -> HubReference | None:
    """Return the reference that ``text`` is, or ``None`` if it does not look like one."""
    match = _REFERENCE.match(text)
    if match is None:
        return None
    return HubReference(repository=match["repository"], wanted=match["wanted"], revision=revision)
