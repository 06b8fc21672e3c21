"""The paths of Ollama's API, known before the door is imported."""

from __future__ import annotations

from typing import Final

CHAT: Final = "/api/chat"
GENERATE: Final = "/api/generate"
EMBED: Final = "/api/embed"
EMBEDDINGS: Final = "/api/embeddings"
ANSWERING: Final = (CHAT, GENERATE, EMBED, EMBEDDINGS)
"""The paths that models answer."""
TAGS: Final = "/api/tags"
SHOW: Final = "/api/show"
PS: Final = "/api/ps"
VERSION: Final = "/api/version"
DELETE: Final = "/api/delete"
COPY: Final = "/api/copy"
CREATE: Final = "/api/create"
PULL: Final = "/api/pull"
PUSH: Final = "/api/push"
BLOBS: Final = "/api/blobs/"
"""Followed by a digest."""
PATHS: Final = (*ANSWERING, TAGS, SHOW, PS, VERSION, DELETE, COPY, CREATE, PULL, PUSH)
"""All paths but those of blobs."""
PREFIX: Final = "/api/"
"""What all paths of this door begin with, and no others."""


def is_ollama_path(path: str) -> bool:
    """Whether errors at ``path`` are in Ollama's format; also at paths that do not exist."""
    return path.startswith(PREFIX)
