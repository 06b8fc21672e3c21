"""A ``llama-server`` for this platform, in ``bin``, which chooses its CPU backend when it starts."""

from __future__ import annotations

from typing import Final

__version__: Final = "2026.10.11549"
"""That of the xllamacpp whose revision of llama.cpp it is."""
