"""The registry: the models that a host may load, read from ``models.yaml`` and watched for changes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelhost.config import environment
from modelhost.config.checks import config_error, suggestion, validate
from modelhost.config.document import parse, read_content
from modelhost.config.file import DEFAULT_FILES, default_file
from modelhost.config.paths import expand_home, is_file_or_link
from modelhost.config.settings import Settings
from modelhost.config.variables import DOTENV, available, read_dotenv
from modelhost.config.watching import watch_contents
from modelhost.errors import ConfigError
from modelhost.models.registry.entry import EntryContext, ModelEntry, build_entry
from modelhost.models.registry.schema import EntryFile, RegistryFile

__all__ = ("Registry", "find_registry", "parse_registry", "read_registry")

DEFAULT_NAMES: Final = DEFAULT_FILES["models_config"]
EXAMPLE: Final = "models: [...]"
SHOWN_NAMES: Final = 3  # of the models that a warning is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All entries. ``default`` is the name of the one for requests that name none; ``digest`` is of the file."""

    entries: tuple[ModelEntry, ...]
    default: str | None = None
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    digest: str = ""


def find_registry(explicit: str | Path | None, cwd: Path) -> Path | None:
    """The file to read: the named one, else the one with a default name in ``cwd``, else none.

    Raises:
        ConfigError: the named file is not there, or several default names are.
    """
    if explicit is not None:
        named = cwd / expand_home(explicit)
        if not is_file_or_link(named):
            raise ConfigError(f"models_config: there is no file {explicit}", param="models_config")
        return named
    found = default_file("models_config", cwd)
    return None if found is None else cwd / found


def read_registry(path: Path, base: Settings) -> Registry:
    """Return the registry in the file at ``path``, each entry's settings laid over ``base``.

    Of ``base`` an entry does not take over what belongs to one model: its place, names, revision, adapters, draft
    model and chat template.

    Raises:
        ConfigError: with every problem that was found.
    """
    try:
        content = read_content(path)
    except ValueError as error:
        raise ConfigError(f"{path.name}: {error}", path=str(path)) from error
    return parse_registry(content, path, base)


def parse_registry(content: bytes, path: Path, base: Settings) -> Registry:
    """Return the registry in ``content``, which is what the file at ``path`` holds; see :func:`read_registry`."""
    try:
        document = parse(content, path, example=EXAMPLE)
    except ValueError as error:
        raise ConfigError(f"{path.name}: {error}", path=str(path)) from error
    return _Reading(path, base).run(dict(document), digest_of(content))


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Reading:
    def __init__(self, path: Path, base: Settings) -> None:
        self._path = path
        self._base = base
        self._problems: list[str] = []
        self._warnings: dict[str, list[str]] = {}

    def run(self, document: dict[object, object], digest: str) -> Registry:
        file, problems = validate(RegistryFile, document, label=self._path.name)
        self._problems += problems
        if file is None:
            # The entries are looked at nevertheless, so that all problems are seen at once.
            models = document.get("models")
            file = RegistryFile(models=models if isinstance(models, list) else [])
        elif not file.models:
            self._problems.append(f'{self._path.name}: "models" is missing or empty')
        directory = self._path.absolute().parent
        variables = available(environment.current(), read_dotenv(directory / DOTENV)[0])
        frame = EntryContext(file=file, base=self._base, directory=directory, variables=variables)
        entries = [
            entry for index, item in enumerate(file.models) if (entry := self._entry(index, item, frame)) is not None
        ]
        self._check_default(file)
        if self._problems:
            raise config_error(self._problems, what=self._path.name)
        names = {name: entry.name for entry in entries for name in (entry.name, *entry.aliases)}
        return Registry(
            entries=tuple(entries),
            default=names[file.default_model] if file.default_model else None,
            path=self._path,
            warnings=tuple(f"{self._path.name}: {text} ({_names(of)})" for text, of in self._warnings.items()),
            digest=digest,
        )

    def _entry(self, index: int, item: object, frame: EntryContext) -> ModelEntry | None:
        label = _label(self._path, index, item)
        self._check_names(index, item, frame.file.models[:index])
        keys, problems = validate(EntryFile, item, label=label)
        self._problems += problems
        if keys is None:
            return None
        entry, problems, warnings = build_entry(keys, frame)
        self._problems += [f"{label}: {problem}" for problem in problems]
        for warning in warnings:
            self._warnings.setdefault(warning, []).append(keys.name)
        return entry

    def _check_names(self, index: int, item: object, earlier: list[object]) -> None:
        taken = {name: place for place, other in reversed(list(enumerate(earlier))) for name in _names_of(other)}
        for name in dict.fromkeys(_names_of(item)):
            if name in taken:
                self._problems.append(
                    f'{_label(self._path, index, item)}: the name "{name}" is taken by models[{taken[name]}]'
                )

    def _check_default(self, file: RegistryFile) -> None:
        known = [name for item in file.models for name in _names_of(item)]
        if file.default_model is not None and file.default_model not in known:
            self._problems.append(
                f'{self._path.name}: "default_model": there is no entry "{file.default_model}"'
                f"{suggestion(file.default_model, known)}"
            )


def _label(path: Path, index: int, item: object) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return f"{path.name}: models[{index}]" + (f' "{name}"' if isinstance(name, str) else "")


def _names_of(item: object) -> list[str]:
    """The name and the aliases of an item, as far as it has any: it has not been checked."""
    if not isinstance(item, dict):
        return []
    aliases = item.get("aliases")
    found = [item.get("name"), *(aliases if isinstance(aliases, list) else [aliases])]
    return [name for name in found if isinstance(name, str)]


def _names(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    rest = len(listed) - SHOWN_NAMES
    return ", ".join(listed[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")


async def watch_registry(
    path: Path, base: Settings, *, seen: str | None, again: asyncio.Event | None = None
) -> AsyncGenerator[Registry | ConfigError, None]:
    """Yield the registry, or why it cannot be used, each time the content of the file at ``path`` has changed.

    ``seen`` is the digest of the content that is in force (:attr:`Registry.digest`); ``again``, when it is set, has the
    file read at once. Endless; close it with
    ``aclosing``.
    """
    async with aclosing(watch_contents(path, again=again)) as contents:
        async for content in contents:
            digest = digest_of(content) if content is not None else ""
            if digest != seen:
                seen = digest
                yield await asyncio.to_thread(_read, content, path, base)


def _read(content: bytes | None, path: Path, base: Settings) -> Registry | ConfigError:
    try:
        return read_registry(path, base) if content is None else parse_registry(content, path, base)
    except ConfigError as error:
        return error
