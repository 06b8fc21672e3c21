"""Which engine runs a model: the one that was asked for, else by the model's format, the machine and what is there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from modelhost.config.directories import data_directory
from modelhost.config.settings import Settings
from modelhost.engines import ENGINES
from modelhost.engines.base import Engine
from modelhost.engines.installed import (
    FOR_SAFETENSORS,
    how_to_install,
    is_installed,
    missing_modules,
    safetensors_engine,
    wanted_extra,
)
from modelhost.engines.remote import Remote
from modelhost.errors import ConfigError, EngineMissing
from modelhost.models.hf_directory import is_hf_directory
from modelhost.models.locate import Located, servable_models
from modelhost.models.server_urls import is_url
from modelhost.workers.gpus import have_driver

FOR_GGUF: Final = "llamacpp"
FOR_BOTH: Final = "mistralrs"
QUANTIZE: Final = "isq"
"""The engine option that asks for weights to be quantized while they are loaded, which one engine can."""
SCRIPTED: Final = "scripted"
REMOTE: Final = Remote.name


def engine_for(located: Located, settings: Settings) -> str:
    """Return the engine of a model that is here.

    Raises:
        ConfigError: the engine that was asked for does not read the model's format.
        EngineMissing: no engine that does is installed.
    """
    wanted = settings.engine
    if located.kind == "engine":
        return SCRIPTED
    if located.kind == "server":
        return REMOTE
    if located.kind != "safetensors":
        if wanted in FOR_SAFETENSORS:
            raise ConfigError(
                f"{located.path} is in GGUF, which {wanted} does not read: leave engine out, or give a directory with "
                "safetensors",
                param="engine",
            )
        if wanted == FOR_BOTH:
            return _installed(wanted, settings)
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
    if is_url(settings.model):
        return REMOTE
    if not names_safetensors(settings.model):
        return FOR_GGUF
    return FOR_BOTH if QUANTIZE in settings.engine_options else _own_choice(settings) or wanted_extra()


def engine_before_resolving(settings: Settings) -> Engine:
    """Return what is known of the engine of a model that has not been looked at."""
    name = likely_engine(settings)
    if name == REMOTE:
        with suppress(ConfigError):  # which is told when it is looked at
            return Remote(settings.engine_options)
    return ENGINES[name]


def with_params(settings: Settings, params: Mapping[str, Any]) -> tuple[Settings, tuple[str, ...]]:
    """Return ``settings`` with what their engine makes of launch parameters, and why it makes nothing of the others.

    What the settings say themselves wins.
    """
    engine = engine_before_resolving(settings)
    options: dict[str, Any] = {}
    remarks: list[str] = []
    for name, value in params.items():
        accepted = engine.accept({name: value})
        remarks += [*accepted.problems, *accepted.warnings]
        if not accepted.problems:
            options |= accepted.settings.get("engine_options", {})
    return settings.model_copy(update={"engine_options": options | settings.engine_options}), tuple(remarks)


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
    if settings.engine is None and QUANTIZE in settings.engine_options:
        return _installed(FOR_BOTH, settings)
    if settings.worker_python is not None:
        # What that Python has is not known here; a worker that finds nothing there says so itself.
        return settings.engine or safetensors_engine(lambda _: True) or wanted_extra()
    engine = settings.engine or _own_choice(settings)
    if engine is None:
        raise EngineMissing(f"{located.path}: {no_engine()}", path=str(located.path))
    return _installed(engine, settings)


def _own_choice(settings: Settings) -> str | None:
    """Return the engine that this machine takes for safetensors by itself; ``None`` if it has none."""
    folder = data_directory(settings)
    return safetensors_engine(lambda engine: is_installed(engine, folder), has_cuda=have_driver())


def _installed(engine: str, settings: Settings) -> str:
    """Return ``engine``.

    Raises:
        EngineMissing: it is not installed. What another Python has is not known here.
    """
    if settings.worker_python is None and not is_installed(engine, data_directory(settings)):
        raise EngineMissing(
            f"the engine {engine} is not installed ({', '.join(missing_modules(engine))}): {how_to_install(engine)}",
            engine=engine,
        )
    return engine


def no_engine() -> str:
    """Say what to do with a model in safetensors where no engine is installed for it."""
    return (
        f"safetensors need an engine that is not installed: pip install 'modelhost[{wanted_extra()}]'; or take the "
        "model in GGUF (most have a repository with it, named like Qwen/Qwen3-4B-GGUF)"
    )
