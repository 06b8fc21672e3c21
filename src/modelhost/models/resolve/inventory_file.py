"""``MODEL_INVENTORY.json``: an inventory kept between a scan and those who choose from it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from modelhost.config.paths import expand_home
from modelhost.errors import ConfigError
from modelhost.models.resolve.inventory import Entry, Inventory, inspect

FILE_NAME = "MODEL_INVENTORY.json"
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
