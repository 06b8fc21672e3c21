"""Which engine runs a model: the one that was asked for, else by the model's format, the machine and what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelhost.config.settings import Settings
from modelhost.engines.installed import FOR_SAFETENSORS, is_installed, missing_modules, safetensors_engine, wanted_extra
from modelhost.errors import ConfigError, EngineMissing
from modelhost.models.hf_directory import is_hf_directory
from modelhost.models.locate import Located, servable_models

FOR_GGUF: Final = "llamacpp"
SCRIPTED: Final = "scripted"


def engine_for(located: Located, settings: Settings) -> str:
    """Return the engine of a model that is here.

    Raises:
        ConfigError: the engine that was asked for does not read the model's format.
        EngineMissing: no engine that does is installed.
    """
    wanted = settings.engine
    if located.kind == "engine":
        return SCRIPTED
    if located.kind != "safetensors":
        if wanted in FOR_SAFETENSORS:
            raise ConfigError(
                f"{located.path} is in GGUF, which {wanted} does not read: leave engine out, or give a directory with "
                "safetensors",
                param="engine",
            )
        return FOR_GGUF
    if wanted == FOR_GGUF:
        raise ConfigError(
            f"{located.path} is in safetensors, which llama.cpp does not read: leave engine out, or give a GGUF file",
            param="engine",
        )
    return _for_safetensors(located, settings)


def likely_engine(settings: Settings) -> str:
    """Return the engine of a model that has not been looked at: a guess where only a download would tell."""
    if settings.engine is not None:
        return settings.engine
    return (safetensors_engine() or wanted_extra()) if names_safetensors(settings.model) else FOR_GGUF


def names_safetensors(model: str | None) -> bool:
    """Whether ``model`` is a directory here, with safetensors and no GGUF file, or asks the hub for safetensors."""
    if model is None:
        return False
    try:
        names = {file.name for file in Path(model).expanduser().iterdir()}
    except OSError:
        return model.endswith(":safetensors")
    return is_hf_directory(names) and not servable_models(list(names))


def _for_safetensors(located: Located, settings: Settings) -> str:
    if settings.worker_python is not None:
        # What that Python has is not known here; a worker that finds nothing there says so itself.
        return settings.engine or safetensors_engine(lambda _: True) or wanted_extra()
    engine = settings.engine or safetensors_engine()
    if engine is None:
        raise EngineMissing(f"{located.path}: {no_engine()}", path=str(located.path))
    if not is_installed(engine):
        raise EngineMissing(
            f"the engine {engine} is not installed ({', '.join(missing_modules(engine))}): "
            f"pip install 'modelhost[{engine}]'",
            engine=engine,
        )
    return engine


def no_engine() -> str:
    """Say what to do with a model in safetensors where no engine is installed for it."""
    return (
        f"safetensors need an engine that is not installed: pip install 'modelhost[{wanted_extra()}]'; or take the "
        "model in GGUF (most have a repository with it, named like Qwen/Qwen3-4B-GGUF)"
    )
