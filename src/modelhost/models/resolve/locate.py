"""From what a person calls a model (a path, a directory, a hub id, nothing) to files on this machine or on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from modelhost.config.paths import expand_home, why_missing
from modelhost.config.settings import Settings
from modelhost.engines import TRAITS
from modelhost.engines.installed import engine_with_layout, engine_with_package, incomplete_layout, reads_only, serves
from modelhost.errors import ConfigError, ModelFileInvalid, ModelFileMissing
from modelhost.models.files import model_files
from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.files.hf_directory import HfModel, is_hf_directory, read_hf_directory
from modelhost.models.hub import references
from modelhost.models.hub.other_stores import OLLAMA, find_stored
from modelhost.models.registry.entry import ModelEntry

BUNDLED_NAME = "modelhost-nano"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a model is. ``path`` and ``header`` are there unless it has to be downloaded (``hub``) or has no files."""

    kind: Literal["bundled", "gguf", "safetensors", "hub", "engine", "server", "layout"]
    name: str
    path: Path | None = None
    header: GgufHeader | None = None
    directory: HfModel | None = None
    """What a directory with safetensors says of its model."""
    engine: str | None = None
    """The only engine that reads it, for a model in a layout of that engine's or in a package of its environment."""
    reference: references.HubReference | None = None
    urls: tuple[str, ...] = ()
    """Of the servers that have it."""


def locate(model: str | None, *, revision: str | None = None, engine: str | None = None) -> Located:
    """Return where ``model`` is; paths that exist win over hub ids, and these over what other programs have downloaded.

    Nothing is downloaded.

    Raises:
        ModelFileMissing: it looks like a path and is not there.
        ModelFileInvalid: it is no file that can be served, or a directory that holds several models or none.
    """
    if engine is not None and serves(engine, "script"):
        path = expand_home(model) if model else None
        return Located(kind="engine", name=path.stem if path else engine, path=path)
    if serves(engine, "server") or references.is_url(model):
        if engine is not None and not serves(engine, "server"):
            raise ConfigError(f"{engine} runs files, and the model is given as a URL: leave engine out", param="engine")
        return Located(kind="server", name=references.server_name(model), urls=references.server_urls(model))
    if (included := _included(model, engine)) is not None:
        return included
    assert model is not None
    path = expand_home(model)
    if path.exists():
        return _at(path, engine)
    reference = None if _looks_like_path(model) else references.parse_reference(model, revision)
    if reference is None:
        if (stored := _stored(model)) is not None:
            return stored
        raise _missing(model, path)
    if reads_only(engine, "safetensors") and reference.wanted is None:
        reference = replace(reference, wanted=model_files.SAFETENSORS)
    return Located(kind="hub", name=reference.repository, reference=reference)


def _stored(model: str) -> Located | None:
    stored = find_stored(model)
    if stored is None:
        return None
    if stored.why_not is not None:
        raise ModelFileInvalid(f"{model} cannot be served: {stored.why_not}", path=str(stored.path))
    return Located(kind="gguf", name=_own_name(model), path=stored.path, header=read_header(stored.path))


def name_of(model: str | None, *, engine: str | None = None) -> str:
    """Return what :func:`locate` calls ``model``; whether it is there and can be served is not looked at."""
    is_script = serves(engine, "script")
    if model is None and engine is not None and is_script:
        return engine
    if serves(engine, "server") or references.is_url(model):
        return references.server_name(model)
    if model is None or is_bundled(model) or _package_owner(model, engine) is not None:
        owner = _package_owner(model, engine)
        return BUNDLED_NAME if owner is None else model or TRAITS[owner].packaged[0]
    path = expand_home(model)
    if is_script:
        return path.stem
    with suppress(OSError):
        if path.is_dir():
            models = _servable_in(path)
            return model_files.stem(models[0]) if len(models) == 1 else path.name
    reference = None if path.exists() or _looks_like_path(model) else references.parse_reference(model)
    return reference.repository if reference else _own_name(model)


def _own_name(model: str) -> str:
    """Return what a model is called after its file, or after its name in the store of another program."""
    return model_files.stem(expand_home(model).name.removeprefix(OLLAMA))


def is_bundled(model: str | None) -> bool:
    """Whether the bundled model is meant: by nothing, or by its name, unless something of that name is here."""
    return model is None or (model == BUNDLED_NAME and not Path(model).exists())


def _bundled() -> Located:
    path = Path(str(files("modelhost"))) / "assets" / "nano" / f"{BUNDLED_NAME}.gguf"
    if not path.is_file():
        raise ModelFileMissing(
            f"the bundled model {BUNDLED_NAME} is not in this installation ({path}): "
            "build it with `make nano`, or name a model: a GGUF file, or a hub id like Qwen/Qwen3-4B-GGUF",
            path=str(path),
        )
    return Located(kind="bundled", name=BUNDLED_NAME, path=path, header=read_header(path))


def _included(model: str | None, engine: str | None) -> Located | None:
    if (owner := _package_owner(model, engine)) is not None:
        return Located(kind="layout", name=model or TRAITS[owner].packaged[0], engine=owner)
    return _bundled() if is_bundled(model) else None


def _package_owner(model: str | None, engine: str | None) -> str | None:
    """Return the engine in whose environment ``model`` is a package, unless something of that name is here."""
    return None if model is not None and expand_home(model).exists() else engine_with_package(model, engine)


def _at(path: Path, engine: str | None) -> Located:
    if not path.is_dir():
        return _file(path)
    names = {file.name for file in path.iterdir()}
    owner = engine_with_layout(names)
    if owner is not None and engine in (None, owner):
        return Located(kind="layout", name=path.name, path=path, engine=owner)
    if owner is not None and not is_hf_directory(names) and not _servable_in(path):
        raise ModelFileInvalid(
            f"{path} is for the engine {owner}, which reads {TRAITS[owner].reads}; {engine} does not read it: leave "
            "engine out",
            path=str(path),
        )
    return _located_directory(path) if reads_only(engine, "safetensors") else _directory(path)


def downloaded_directory(path: Path) -> Located:
    """Return the model in the directory at ``path``, as it came from the hub; raises as :func:`locate` does."""
    owner = engine_with_layout(file.name for file in path.iterdir())
    if owner is not None:
        return Located(kind="layout", name=path.name, path=path, engine=owner)
    return _located_directory(path)


def _file(path: Path) -> Located:
    if path.name.endswith(model_files.WEIGHTS_SUFFIXES):
        raise ModelFileInvalid(
            f"{path}: {model_files.WHOLE_DIRECTORY if path.suffix == '.safetensors' else model_files.PICKLED}",
            path=str(path),
        )
    if (model_files.part_number(path.name) or 1) > 1:
        path = path.with_name(model_files.part_names(path.name)[0])
    return Located(kind="gguf", name=model_files.stem(path.name), path=path, header=read_header(path))


def _directory(path: Path) -> Located:
    models = _servable_in(path)
    if len(models) == 1:
        return _file(path / models[0])
    if models:
        raise ModelFileInvalid(
            f"{path} holds {len(models)} models: give one of them: {', '.join(models)}", path=str(path), models=models
        )
    return _located_directory(path)


def _located_directory(path: Path) -> Located:
    """Return the model in safetensors in the directory at ``path``; raises as :func:`locate` does."""
    names = {file.name for file in path.iterdir()}
    if is_hf_directory(names):
        return Located(kind="safetensors", name=path.name, path=path, directory=read_hf_directory(path))
    if (incomplete := incomplete_layout(names)) is not None:
        owner, file = incomplete
        raise ModelFileInvalid(
            f"{path} lacks {file}, without which {owner} cannot read it: download the directory again, with all of its "
            "files",
            path=str(path),
        )
    if "config.json" in names and any(name.endswith(model_files.WEIGHTS_SUFFIXES) for name in names):
        raise ModelFileInvalid(f"{path}: {model_files.PICKLED}", path=str(path))
    raise ModelFileInvalid(
        f"{path} holds no GGUF file and no safetensors: give a GGUF file, or a directory with a model", path=str(path)
    )


def _servable_in(directory: Path) -> list[str]:
    return model_files.servable_models(
        [file.name for file in directory.iterdir() if file.name.lower().endswith(".gguf")]
    )


def _looks_like_path(model: str) -> bool:
    """Whether ``model`` can only be meant as a path, by its text or because it is below a directory or link here."""
    if references.is_path(model):
        return True
    if references.is_file_address(model):
        return False
    top = Path(model.split("/", 1)[0])
    return "/" in model and ":" not in model and (top.is_dir() or top.is_symlink())


def _missing(model: str, path: Path) -> ModelFileMissing:
    close = _close_names(path)
    if close:
        way_out = f"did you mean {' or '.join(close)}?"
    else:
        way_out = "give a GGUF file, a directory with one, or a hub id `org/name[:file-or-quant]`"
    return ModelFileMissing(f"{model}: {why_missing(path)}; {way_out}", path=model, suggestions=close)


def _close_names(path: Path) -> list[str]:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir() or entry.suffix.lower() == ".gguf"]
    except OSError:
        return []
    return [str(path.with_name(name)) for name in get_close_matches(path.name, names, n=3, cutoff=0.6)]


def single_entry(
    settings: Settings, name: str | None = None, launch: Mapping[str, Any] = MappingProxyType({})
) -> ModelEntry:
    """Return the entry of a host without a registry: the one model that ``settings`` name.

    It is called ``name``, else by its first alias, else after its file or repository. ``launch`` are launch parameters
    for its engine.

    Raises:
        SetupError: there is no such model.
    """
    own = settings.alias
    if name is None:
        located = None if own else locate(settings.model, revision=settings.revision, engine=settings.engine)
        name = own[0] if located is None else served_name(located, settings)
    aliases = tuple(alias for alias in own if alias != name)
    return ModelEntry(
        name=name,
        aliases=aliases,
        settings=settings.model_copy(update={"alias": (name, *aliases)}),
        defaults=settings.request_defaults,
        launch=launch,
        idle_unload_seconds=settings.idle_unload_secs,
    )


def served_name(located: Located, settings: Settings) -> str:
    """Return what a model without a name is called: if it is elsewhere, as it is called there, where that is known."""
    named = settings.engine_options.get("model") if located.urls else None
    return str(named) if named else located.name
