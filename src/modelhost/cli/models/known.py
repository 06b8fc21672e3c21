"""The models known on this machine: registry, inventory, hub cache and the bundled one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from modelhost.config import environment
from modelhost.config.directories import data_directory
from modelhost.config.paths import broken_link, expand_home
from modelhost.config.settings import Settings
from modelhost.config.sources import load
from modelhost.errors import ModelFileMissing, SetupError
from modelhost.models.hub.cache import RepositoryCache, downloaded_models, served_path
from modelhost.models.hub.other_stores import find_stored, stored_models
from modelhost.models.hub.references import parse_reference
from modelhost.models.registry.entry import ModelEntry
from modelhost.models.registry.registry import find_registry, read_registry
from modelhost.models.resolve.engine_choice import engine_for_format
from modelhost.models.resolve.inventory import FILE_NAME, Entry, inspect, read_inventory, smallest
from modelhost.models.resolve.locate import locate


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model and its source. ``path`` is ``None`` until it is downloaded."""

    name: str
    source: Literal["registry", "inventory", "cache", "ollama", "lmstudio", "bundled"]
    path: str | None = None
    size_bytes: int | None = None
    details: str = ""
    why_not: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def all_models() -> list[KnownModel]:
    """Return the models of the registry, the inventory, the hub's cache, Ollama and LM Studio, and the bundled one.

    Raises:
        ConfigError: the registry or the inventory in this directory cannot be read.
    """
    return [*_registered(), *_inventoried(), *_downloaded(), *_stored(), *_bundled()]


def find_path(name: str) -> Path:
    """Return the file or directory of the model ``name``: a path, or a name in :func:`all_models`.

    Raises:
        ModelFileMissing: there is no such model, or it is not downloaded yet.
    """
    path = expand_home(name)
    if path.exists():
        return path
    if nowhere := broken_link(path):
        raise ModelFileMissing(f"{name}: {nowhere}", path=name)
    models = all_models()
    named = [model for model in models if model.name == name]
    here = next((model.path for model in named if model.path is not None), None)
    if here is None and (stored := find_stored(name)) is not None:  # such as Ollama's without its tag
        here = str(stored.path)
    if here is not None:
        return Path(here)
    if named:
        raise ModelFileMissing(f"{name} is not downloaded yet: modelhost models pull {named[0].details}", path=name)
    close = get_close_matches(name, [model.name for model in models], n=2)
    hint = f"did you mean {' or '.join(close)}?" if close else "see: modelhost models list"
    raise ModelFileMissing(f"{name}: there is no such model or file; {hint}", path=name)


def smallest_in(file: Path) -> Entry:
    """Return the usable chat model of an inventory with the least memory need; raises ModelFileMissing without one."""
    return smallest(read_inventory(file, data_dir=data_directory(host_settings())))


def host_settings() -> Settings:
    """Return the settings of a host started in this directory; raises ConfigError."""
    return load({}, config_path=None, environ=environment.current(), cwd=Path.cwd()).settings


def _registered() -> Iterator[KnownModel]:
    settings = host_settings()
    file = find_registry(settings.models_config, Path.cwd())
    if file is None:
        return
    for entry in read_registry(file, settings).entries:
        yield _registered_model(entry)


def _registered_model(entry: ModelEntry) -> KnownModel:
    model = (entry.settings.model or "").removeprefix("hf://")
    reference = parse_reference(model, entry.settings.revision)
    path, why_not = expand_home(model) if model else None, None
    if path is not None and not path.exists():
        nowhere = broken_link(path)
        path, why_not = None, f"{path}: {nowhere}" if nowhere else None
        try:
            found = RepositoryCache(reference.repository).find(reference) if reference is not None else None
            path = served_path(found) if found else None
            if path is not None:
                engine_for_format("safetensors" if path.is_dir() else "gguf", entry.settings, what=entry.name)
        except SetupError as error:  # the download does not match the entry, or no engine here runs it
            why_not = error.message
    return KnownModel(
        name=entry.name,
        source="registry",
        path=None if path is None else str(path),
        size_bytes=None if path is None else _size_bytes(path, data_directory(entry.settings)),
        details=model,
        why_not=why_not,
    )


def _size_bytes(path: Path, data_dir: Path) -> int | None:
    if path.is_dir():
        return inspect(path, data_dir=data_dir).size_bytes or None
    return path.stat().st_size


def _inventoried() -> Iterator[KnownModel]:
    file = Path(FILE_NAME)
    if not file.is_file():
        return
    for entry in read_inventory(file, data_dir=data_directory(host_settings())).entries:
        yield KnownModel(
            name=entry.name,
            source="inventory",
            path=entry.path,
            size_bytes=entry.size_bytes,
            details=_kind_of(entry),
            why_not=entry.why_not,
        )


def _kind_of(entry: Entry) -> str:
    kind = entry.architecture or (entry.format if Path(entry.path).is_dir() else None)
    return " ".join(part for part in (kind, entry.quantization) if part)


def _downloaded() -> Iterator[KnownModel]:
    for model in downloaded_models():
        entry = inspect(model.path, data_dir=data_directory(host_settings())) if model.path.is_dir() else None
        kind = model.path.name if entry is None else _kind_of(entry)
        yield KnownModel(
            name=model.repository,
            source="cache",
            path=str(model.path),
            size_bytes=model.size_bytes,
            details=f"{kind} ({model.revision[:12]})",
            why_not=None if entry is None else entry.why_not,
        )


def _stored() -> Iterator[KnownModel]:
    for model in stored_models():
        yield KnownModel(
            name=model.name,
            source=model.store,
            path=str(model.path),
            size_bytes=model.size_bytes,
            details=model.path.name if model.store == "lmstudio" else "",
            why_not=model.why_not,
        )


def _bundled() -> Iterator[KnownModel]:
    try:
        located = locate(None)
    except ModelFileMissing as error:
        yield KnownModel(name="modelhost-nano", source="bundled", why_not=error.message)
        return
    assert located.header is not None
    header = located.header
    yield KnownModel(
        name=located.name,
        source="bundled",
        path=str(located.path),
        size_bytes=header.size_bytes,
        details=f"{header.architecture} {header.quantization}",
    )
