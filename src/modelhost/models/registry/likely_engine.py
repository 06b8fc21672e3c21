"""The engine that a model will probably get: known from its settings, before its files are inspected."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from modelhost.config.directories import data_directory
from modelhost.config.paths import expand_home
from modelhost.config.settings import Settings
from modelhost.engines import ENGINES, installed
from modelhost.engines.base import Engine
from modelhost.errors import ConfigError
from modelhost.models.files.hf_directory import is_hf_directory
from modelhost.models.files.model_files import servable_models
from modelhost.models.hub.references import is_url
from modelhost.workers.gpus import has_driver

QUANTIZE: Final = "isq"
"""The engine option that has weights quantized while they are loaded, which one engine supports."""


def engines_by_preference() -> tuple[str, ...]:
    """Return the engines that read safetensors, those first that suit this machine best."""
    return installed.engines_for("safetensors", has_cuda=has_driver())


def best_installed_engine(data_dir: Path) -> str | None:
    """Return the engine that this machine prefers for safetensors, the best of those that are installed.

    ``None`` if none is. ``data_dir`` is where the host keeps the environments of engines.
    """
    return next((engine for engine in engines_by_preference() if installed.is_installed(engine, data_dir)), None)


def likely_engine(settings: Settings) -> str:
    """Return the engine of a model whose files have not been inspected: a guess if only a download could say."""
    if settings.engine is not None:
        return settings.engine
    if is_url(settings.model):
        return installed.serving("server")
    if (own := installed.engine_with_package(settings.model) or _engine_of_layout(settings.model)) is not None:
        return own
    if not names_safetensors(settings.model):
        return installed.default_engine("gguf")
    if QUANTIZE in settings.engine_options:
        return installed.quantizing_by(QUANTIZE)
    return best_installed_engine(data_directory(settings)) or installed.default_engine("safetensors")


def _engine_of_layout(model: str | None) -> str | None:
    """Return the engine that alone reads the directory ``model``; ``None`` if it is none of that kind."""
    if model is None:
        return None
    try:
        return installed.engine_with_layout(file.name for file in expand_home(model).iterdir())
    except OSError:
        return None


def provisional_engine(settings: Settings) -> Engine:
    """Return the engine that a model will probably get, before its files have been inspected."""
    engine = ENGINES[likely_engine(settings)]
    with suppress(ConfigError):  # reported when the model is resolved
        return engine.for_model(settings.engine_options)
    return engine


def names_safetensors(model: str | None) -> bool:
    """Whether ``model`` is a directory here, with safetensors and no GGUF file, or refers to some on the hub."""
    if model is None:
        return False
    try:
        names = {file.name for file in expand_home(model).iterdir()}
    except OSError:
        return model.endswith(":safetensors")
    return is_hf_directory(names) and not servable_models(list(names))
