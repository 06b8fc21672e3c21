"""Watches the registry file and reads it whenever its content has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from modelhost.config.settings import Settings
from modelhost.config.watching import settled_contents
from modelhost.errors import ConfigError
from modelhost.models.registry import Registry, digest_of, parse_registry, read_registry


async def watch_registry(
    path: Path, base: Settings, *, seen: str | None, again: asyncio.Event | None = None
) -> AsyncGenerator[Registry | ConfigError, None]:
    """Yield the registry, or why it cannot be used, each time the content of the file at ``path`` has changed.

    ``seen`` is the digest of the content that is in force (:attr:`Registry.digest`); ``again``, when it is set, has the
    file read at once. Endless; close it with
    ``aclosing``.
    """
    async with aclosing(settled_contents(path, again=again)) as contents:
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
