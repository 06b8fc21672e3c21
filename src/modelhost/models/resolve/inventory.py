"""The models on this machine's disks: found by walking directories, described from headers, kept in a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from modelhost.config.directories import data_directory
from modelhost.config.paths import broken_link, expand_home
from modelhost.config.settings import Settings
from modelhost.engines import TRAITS
from modelhost.engines.installed import (
    default_engine,
    engine_with_layout,
    how_to_install,
    is_installed,
    kind_of,
    missing_modules,
)
from modelhost.engines.traits import DirectoryFormat
from modelhost.errors import ConfigError, ModelFileInvalid, ModelFileMissing, ModelhostError
from modelhost.models.files.directory_needs import directory_need
from modelhost.models.files.gguf import GgufHeader, read_header
from modelhost.models.files.gguf_needs import need_bytes
from modelhost.models.files.hf_directory import HfModel, describes_model, is_hf_directory, read_hf_directory
from modelhost.models.files.media_encoder import encoder_beside
from modelhost.models.files.memory_pools import RAM
from modelhost.models.files.model_files import servable_models, stem
from modelhost.models.files.pipeline import is_pipeline, read_pipeline
from modelhost.models.files.servability import takes_images, why_not_served
from modelhost.models.registry.likely_engine import best_installed_engine
from modelhost.models.resolve.companion_files import bytes_of
from modelhost.models.resolve.engine_choice import no_engine_message
from modelhost.models.resolve.locate import locate
from modelhost.models.resolve.own_layouts import layout_files, layout_need
from modelhost.models.resolve.sizing import FALLBACK_CONTEXT
from modelhost.plurals import counted

Capability = Literal["chat", "see", "embed", "rerank", "tools", "speak", "transcribe", "images"]
OF_TASKS: Final[Mapping[str, Capability]] = {
    "embeddings": "embed",
    "speech": "speak",
    "transcription": "transcribe",
    "images": "images",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model. What its files do not say, or could not say because they are damaged, is ``None`` or empty."""

    name: str
    path: str
    """The file to serve (of a split model the first part), or the directory."""
    format: DirectoryFormat | Literal["gguf"]
    size_bytes: int
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    """What it was made for."""
    has_chat_template: bool = False
    capabilities: tuple[Capability, ...] = ()
    estimate_context: int | None = None
    """The context for which ``need_bytes`` is estimated, for one conversation without a GPU."""
    need_bytes: int | None = None
    is_usable: bool = True
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a scan found, sorted by name; ``problems`` are places that could not be looked into."""

    entries: tuple[Entry, ...]
    directories: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


Progress = Callable[[int, int, str], None]
"""Called with the number of models described, their total number, and the name of the next one."""


def scan(
    directories: Sequence[Path],
    *,
    context_length: int | None = None,
    on_progress: Progress | None = None,
    data_dir: Path | None = None,
) -> Inventory:
    """Return the models below ``directories``; ``context_length`` is what memory is estimated for (default: 4,096 or
    the model's own, if that is less). ``data_dir`` is where engines are looked for (default: the user's).

    Hidden names are left out and links are followed, each folder and file once.

    Raises:
        ModelFileMissing: one of ``directories`` is not there.
    """
    for directory in directories:
        if not directory.is_dir():
            why = broken_link(directory) or "there is no such directory"
            raise ModelFileMissing(f"{directory}: {why}", path=str(directory))
    problems: list[str] = []
    seen: set[tuple[int, int]] = set()
    found = [path for directory in directories for path in _models_below(directory, seen, problems)]
    entries = []
    for index, path in enumerate(found):
        if on_progress is not None:
            on_progress(index, len(found), path.name)
        entries.append(inspect(path, context_length=context_length, data_dir=data_dir))
    if on_progress is not None:
        on_progress(len(found), len(found), "")
    return Inventory(
        entries=tuple(sorted(entries, key=lambda entry: (entry.name.lower(), entry.path))),
        directories=tuple(str(directory.absolute()) for directory in directories),
        problems=tuple(problems),
    )


def inspect(path: Path, *, context_length: int | None = None, data_dir: Path | None = None) -> Entry:
    """Return what the model at ``path`` says of itself; a damaged one is an entry that is not usable."""
    if not path.is_dir():
        return _gguf_entry(path, context_length)
    names = {file.name for file in path.iterdir()}
    if (owner := engine_with_layout(names)) is not None:
        return _layout_entry(path, owner, data_dir or data_directory(Settings()))
    if is_hf_directory(names):
        return _directory_entry(path, context_length, data_dir or data_directory(Settings()))
    try:
        located = locate(str(path.absolute()))
    except (ModelFileInvalid, ModelFileMissing) as error:
        return _broken(path, path.name, "safetensors", error)
    assert located.path is not None
    return _gguf_entry(located.path, context_length)


def smallest(inventory: Inventory) -> Entry:
    """Return the usable chat model with the least need of memory; raises ModelFileMissing if there is none."""
    usable = [entry for entry in inventory.entries if entry.is_usable and "chat" in entry.capabilities]
    if not usable:
        raise ModelFileMissing(
            f"none of the {counted(len(inventory.entries), 'model')} in the inventory is a usable chat model: scan a "
            "directory that has one, or download one with: modelhost models pull org/name"
        )
    return min(usable, key=lambda entry: (entry.need_bytes or entry.size_bytes, entry.size_bytes, entry.name))


def _models_below(directory: Path, seen: set[tuple[int, int]], problems: list[str]) -> Iterator[Path]:
    """Yield the model files and directories below ``directory`` that are not ``seen``, and note them."""

    def report(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror or error}")

    for folder, folders, names in os.walk(directory.absolute(), onerror=report, followlinks=True):
        identity = _identity(Path(folder), problems)
        if identity is None or identity in seen:
            folders.clear()  # a link back to where the walk has been, or a folder that has just gone
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = [name for name in names if not name.startswith(".")]
        if engine_with_layout(visible) is not None:
            folders.clear()  # the components of a pipeline are directories of models, too
            yield Path(folder)
            continue
        servable = servable_models(visible)
        for name in servable:
            identity = _identity(Path(folder, name), problems)
            if identity is not None and identity not in seen:
                seen.add(identity)
                yield Path(folder, name)
        if is_hf_directory({*visible, *folders}) or (not servable and describes_model(Path(folder))):
            yield Path(folder)  # without weights, or with a damaged config.json, it is an entry that says so


def _identity(path: Path, problems: list[str]) -> tuple[int, int] | None:
    """Return what a file or folder is under all of its names."""
    try:
        status = path.stat()
    except OSError as error:
        problems.append(f"{path}: {broken_link(path) or error.strerror or error}")
        return None
    return status.st_dev, status.st_ino


def _gguf_entry(path: Path, context_length: int | None) -> Entry:
    name = stem(path.name)
    try:
        header = read_header(path)
    except (ModelFileInvalid, ModelFileMissing) as error:
        return _broken(path, name, "gguf", error)
    estimate_context = context_length or min(header.context_length or FALLBACK_CONTEXT, FALLBACK_CONTEXT)
    need = need_bytes(header, context_length=estimate_context, slots=1, kv_cache_type="f16", gpu_layers=None)
    return Entry(
        name=name,
        path=str(path),
        format="gguf",
        size_bytes=header.size_bytes,
        architecture=header.architecture,
        parameters=header.parameters,
        quantization=header.quantization,
        context_length=header.context_length,
        has_chat_template=header.chat_template is not None,
        capabilities=_gguf_capabilities(header, path),
        estimate_context=estimate_context,
        need_bytes=need[RAM],
    )


def _gguf_capabilities(header: GgufHeader, path: Path) -> tuple[Capability, ...]:
    if header.is_reranker:
        return ("rerank",)
    if header.is_embedding:
        return ("embed",)
    capabilities: list[Capability] = ["chat"]
    if encoder_beside(path) is not None:
        capabilities.append("see")
    capabilities.append("embed")
    if mentions_tools(header.chat_template):
        capabilities.append("tools")
    return tuple(capabilities)


def mentions_tools(template: str | None) -> bool:
    return template is not None and "tools" in template


def _directory_entry(path: Path, context_length: int | None, data_dir: Path) -> Entry:
    try:
        model = read_hf_directory(path)
    except (ModelFileInvalid, ModelFileMissing) as error:
        return _broken(path, path.name, "safetensors", error)
    own = kind_of(model.families)
    engine = best_installed_engine(data_dir) if own is None else own[0] if is_installed(own[0], data_dir) else None
    estimate_context = context_length or min(model.context_length or FALLBACK_CONTEXT, FALLBACK_CONTEXT)
    likely = engine or default_engine("safetensors")
    why_not = no_engine_message() if engine is None else None
    why_not = why_not_served(model, path, likely, is_in_own_python=not missing_modules(likely)) or why_not
    return Entry(
        name=path.name,
        path=str(path),
        format="safetensors",
        size_bytes=model.weights.size_bytes,
        architecture=model.architecture,
        parameters=model.weights.parameters,
        quantization=model.quantization,
        context_length=model.context_length,
        has_chat_template=model.chat_template is not None,
        capabilities=_capabilities_of(model, likely),
        estimate_context=estimate_context,
        need_bytes=directory_need(model, engine=likely, options={}, context_length=estimate_context, slots=1)[RAM],
        is_usable=why_not is None,
        why_not=why_not,
    )


def _capabilities_of(model: HfModel, engine: str) -> tuple[Capability, ...]:
    if (own := kind_of(model.families)) is not None:
        return (OF_TASKS[own[1]],)
    if not model.is_generating:
        return ("rerank" if model.is_reranker else "embed",)
    extra: tuple[Capability, ...] = ("see",) if takes_images(model, engine) else ()
    return ("chat", *extra, *(("tools",) if mentions_tools(model.chat_template) else ()))


def _layout_entry(path: Path, owner: str, data_dir: Path) -> Entry:
    kind, is_usable = TRAITS[owner].layout, is_installed(owner, data_dir)
    try:
        size_bytes, need = bytes_of(layout_files(path)), layout_need(path, owner, {})
        architecture = read_pipeline(path).kind if is_pipeline(path) else None
    except (ModelFileInvalid, ModelFileMissing) as error:
        return _broken(path, path.name, kind, error)
    return Entry(
        name=path.name,
        path=str(path),
        format=kind,
        size_bytes=size_bytes,
        architecture=architecture,
        capabilities=tuple(OF_TASKS[task] for task in TRAITS[owner].can if task in OF_TASKS),
        need_bytes=need[RAM],
        is_usable=is_usable,
        why_not=None if is_usable else f"the engine {owner} is not installed: {how_to_install(owner)}",
    )


def _broken(path: Path, name: str, kind: DirectoryFormat | Literal["gguf"], error: ModelhostError) -> Entry:
    files = path.rglob("*.safetensors") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return Entry(name=name, path=str(path), format=kind, size_bytes=size, is_usable=False, why_not=error.message)


FILE_NAME = "MODEL_INVENTORY.json"
"""The file of an inventory, kept between a scan and those who choose from it."""
VERSION = 1
PATH_KEYS = ("path", "full_path", "file_path", "model_path", "file", "location")
"""How lists of models that other tools wrote call the place of a model."""
_WAY_OUT = "write it anew with: modelhost models scan DIR"
_ENTRIES = TypeAdapter(tuple[Entry, ...])
_KEYS = frozenset({"version", "directories", "problems", "models"})
_ENTRY_KEYS = frozenset(field.name for field in fields(Entry))


def write_inventory(path: Path, inventory: Inventory) -> None:
    """Write ``inventory`` atomically: readers of ``path`` see the old file or the new one, whole.

    Raises:
        ConfigError: it cannot be written there.
    """
    content = {
        "version": VERSION,
        "directories": inventory.directories,
        "problems": inventory.problems,
        "models": inventory.entries,
    }
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror or error}): name another --output") from error


def read_inventory(path: Path, *, data_dir: Path | None = None) -> Inventory:
    """Return the inventory in ``path``.

    A list that another tool wrote is taken too, if its entries say where the models are: the files are looked at again,
    and ``data_dir`` is where engines are looked for (default: the user's).

    Raises:
        ConfigError: there is none, or it is none; the message has the way out.
    """
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path}: write it with: modelhost models scan DIR") from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigError(f"{path} is not readable JSON ({error}): {_WAY_OUT}") from error
    if isinstance(value, dict) and isinstance(value.get("version"), int) and "directories" in value:
        return _own(path, value)
    return _foreign(path, value, data_dir)


def _own(path: Path, value: dict[str, Any]) -> Inventory:
    version = value["version"]
    if version != VERSION:
        newer = "a newer modelhost wrote it: update this one, or " if version > VERSION else ""
        raise ConfigError(f"{path} has version {version}, and {VERSION} is known: {newer}{_WAY_OUT}")
    models = value.get("models")
    try:
        _check_keys(value, _KEYS)
        for model in models if isinstance(models, list) else []:
            _check_keys(model, _ENTRY_KEYS)
        return Inventory(
            entries=_ENTRIES.validate_python(models),
            directories=_texts(value["directories"]),
            problems=_texts(value.get("problems", [])),
        )
    except (ValidationError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({_first_line(error)}): {_WAY_OUT}") from error


def _check_keys(value: Any, known: frozenset[str]) -> None:
    unknown = sorted(set(value) - known) if isinstance(value, dict) else []
    if unknown:
        raise TypeError(f'unknown key "{unknown[0]}"')


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError("directories and problems have to be lists of text")
    return tuple(value)


def _foreign(path: Path, value: Any, data_dir: Path | None) -> Inventory:
    """Return an inventory of the files that another tool's list names; relative ones are beside the list."""
    listed = value.get("models") if isinstance(value, dict) else value
    if isinstance(listed, dict):
        listed = list(listed.values())
    places = [_place(item) for item in listed] if isinstance(listed, list) else []
    if not places or None in places:
        raise ConfigError(
            f"{path} is not an inventory: expected the file of `modelhost models scan`, or a list of models that have "
            f'a "path": {_WAY_OUT}'
        )
    files = [path.parent / expand_home(place) for place in places if place]
    return Inventory(entries=tuple(inspect(file, data_dir=data_dir) for file in files))


def _place(item: Any) -> str | None:
    if isinstance(item, str):
        return item or None
    if not isinstance(item, dict):
        return None
    return next((item[key] for key in PATH_KEYS if isinstance(item.get(key), str) and item[key]), None)


def _first_line(error: ValidationError | TypeError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
