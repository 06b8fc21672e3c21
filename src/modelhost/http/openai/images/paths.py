"""The paths of OpenAI's API for images."""

from __future__ import annotations

from typing import Final

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
VARIATIONS: Final = "/v1/images/variations"
FILES: Final = "/v1/images/files"
"""Images that answers name by URL are below this; the URL is signed and needs no key."""
PATHS: Final = (GENERATIONS, EDITS, VARIATIONS)
"""Those of POST."""
