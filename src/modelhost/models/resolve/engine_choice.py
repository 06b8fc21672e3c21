"""Which engine runs a model: the requested one, else the best for its format that is installed on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelhost.config.directories import data_directory
from modelhost.config.settings import Settings
from modelhost.config.vllm_environment import PREFERS_FLOAT16
from modelhost.engines import ENGINES, TRAITS, installed
from modelhost.engines.base import Engine
from modelhost.engines.diffusers.layout import INDEX
from modelhost.engines.traits import ModelFormat
from modelhost.errors import ConfigError, EngineMissing
from modelhost.models.hub.repository_files import Format
from modelhost.models.registry import likely_engine
from modelhost.models.resolve.locate import Located


def engine_for(located: Located, settings: Settings) -> str:
    """Return the engine of a model that is here; raises as :func:`engine_for_format`."""
    if located.kind == "engine":
        return settings.engine or installed.serving("script")
    if located.kind == "server":
        return installed.serving("server")
    if located.engine is not None:
        return _installed(located.engine, settings)
    own = installed.kind_of(located.directory.families) if located.directory is not None else None
    if own is not None and settings.engine is None:
        return _installed(own[0], settings)
    model_format: ModelFormat = "safetensors" if located.kind == "safetensors" else "gguf"
    return engine_for_format(model_format, settings, what=str(located.path))


def engine_reason(located: Located, settings: Settings) -> str:
    """Return why :func:`engine_for` chose the engine of the model, as the end of a sentence."""
    if located.kind in {"engine", "server", "layout"}:
        return "the model is one of its own"
    if settings.engine is not None:
        return "it was requested"
    if located.directory is not None and installed.kind_of(located.directory.families) is not None:
        return "no other serves models of this kind"
    if located.kind != "safetensors":
        return "it reads GGUF"
    if likely_engine.QUANTIZE in settings.engine_options:
        return f"{likely_engine.QUANTIZE} was requested"
    return "of another Python" if settings.worker_python is not None else "it is the best that is installed"


def engine_for_format(model_format: Format, settings: Settings, *, what: str) -> str:
    """Return the engine of the model ``what``, a path or a repository, of which the format is known.

    Raises:
        ConfigError: the requested engine does not read the format.
        EngineMissing: no engine that does is installed.
    """
    wanted = settings.engine
    if model_format == "pipeline":
        return _for_pipeline(settings, what)
    if wanted is not None and model_format not in TRAITS[wanted].formats:
        raise _does_not_read(wanted, model_format, what)
    if model_format == "safetensors":
        return _for_safetensors(settings, what)
    best = installed.default_engine("gguf")
    return best if wanted in (None, best) else _installed(wanted, settings)


def _for_pipeline(settings: Settings, what: str) -> str:
    owner = installed.engine_with_layout([INDEX])
    assert owner is not None
    if settings.engine not in (None, owner):
        raise ConfigError(f"{what} is a pipeline for {owner}: leave engine out", param="engine")
    return _installed(owner, settings)


def _does_not_read(engine: str, model_format: ModelFormat, what: str) -> ConfigError:
    traits = TRAITS[engine]
    title = traits.capabilities.title if traits.capabilities else engine
    readable = {"gguf": "a GGUF file", "safetensors": "a directory with safetensors"}
    given = "GGUF" if model_format == "gguf" else model_format
    others = " or ".join(f"give {readable[each]}" for each in sorted(traits.formats)) or "name a model of that engine"
    return ConfigError(
        f"{what} is in {given}, which {title} does not read: leave engine out, or {others}", param="engine"
    )


def default_engine_for(model_format: Format, settings: Settings, *, what: str) -> str:
    """Return the engine that would run ``what`` without a request for one; raises EngineMissing if there is none."""
    silent = settings.model_copy(update={"engine": None, "engine_options": {}})
    return engine_for_format(model_format, silent, what=what)


def better_engine(engine: str, located: Located, settings: Settings) -> str | None:
    """Return the engine that suits this machine better than ``engine``, which a model gets as that is not installed.

    ``None`` if there is none, or if ``engine`` was requested.
    """
    is_asked_for = settings.engine is not None or settings.worker_python is not None
    if located.kind != "safetensors" or is_asked_for or likely_engine.QUANTIZE in settings.engine_options:
        return None
    if located.directory is not None and installed.kind_of(located.directory.families) is not None:
        return None
    best = likely_engine.engines_by_preference()[0]
    return best if engine != best else None


def with_params(settings: Settings, params: Mapping[str, Any], engine: Engine) -> tuple[Settings, tuple[str, ...]]:
    """Return ``settings`` with what ``engine`` makes of launch parameters, and why it makes nothing of the others.

    What the settings say themselves wins.
    """
    options: dict[str, Any] = {}
    remarks: list[str] = []
    for name, value in params.items():
        if name == PREFERS_FLOAT16:
            continue  # what comes of it depends on the files, too
        accepted = engine.accept({name: value})
        remarks += [*accepted.problems, *accepted.warnings]
        if not accepted.problems:
            options |= accepted.settings.get("engine_options", {})
    return settings.model_copy(update={"engine_options": options | settings.engine_options}), tuple(remarks)


def _for_safetensors(settings: Settings, what: str) -> str:
    if settings.engine is None and likely_engine.QUANTIZE in settings.engine_options:
        return _installed(installed.quantizing_by(likely_engine.QUANTIZE), settings)
    if settings.worker_python is not None:
        # What that Python has is not known here; a worker that finds nothing there says so itself.
        return settings.engine or installed.default_engine("safetensors")
    engine = settings.engine or likely_engine.best_installed_engine(data_directory(settings))
    if engine is None:
        raise EngineMissing(f"{what}: {no_engine_message()}", path=what)
    return _installed(engine, settings)


def _installed(engine: str, settings: Settings) -> str:
    """Return ``engine``.

    Raises:
        EngineMissing: it is not installed. What another Python has is not known here.
    """
    data_dir = data_directory(settings)
    if settings.worker_python is None and not installed.is_installed(engine, data_dir):
        reason = installed.why_environment_unused(engine, data_dir) or ", ".join(installed.missing_modules(engine))
        raise EngineMissing(
            f"the engine {engine} is not installed ({reason}): {installed.how_to_install(engine)}", engine=engine
        )
    return engine


def no_engine_message() -> str:
    """Say what to do with a model in safetensors where no engine is installed for it."""
    ways = " or ".join(installed.how_to_install(engine) for engine in likely_engine.engines_by_preference())
    return (
        f"safetensors need an engine, and none of those that read them is installed. Install one: {ways}. Or take the "
        "model in GGUF (most have a repository with it, named like Qwen/Qwen3-4B-GGUF)"
    )


def engine_of(located: Located, settings: Settings) -> Engine:
    """Return the engine of a model that is here, as :func:`engine_for` chooses it."""
    return ENGINES[engine_for(located, settings)].for_model(settings.engine_options)
