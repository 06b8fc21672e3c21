"""The list of engines, each with its package.

A package has ``traits.py`` with :data:`TRAITS` (:class:`~modelhost.engines.traits.EngineTraits`) and ``engine.py`` with
:data:`ENGINE` (:class:`~modelhost.engines.base.Engine`).
"""

from __future__ import annotations

from typing import Final

ENGINE_PACKAGES: Final[dict[str, str]] = {
    "llamacpp": "modelhost.engines.llamacpp",
    "mlx": "modelhost.engines.mlx",
    "transformers": "modelhost.engines.transformers",
    "vllm": "modelhost.engines.vllm",
    "mistralrs": "modelhost.engines.mistralrs",
    "speech": "modelhost.engines.speech",
    "whisper": "modelhost.engines.whisper",
    "diffusers": "modelhost.engines.diffusers",
    "remote": "modelhost.engines.remote",
    "scripted": "modelhost.engines.scripted",
}
