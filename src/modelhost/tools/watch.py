"""Watches `mcp.json`, and the ``.env`` beside it, and reads them whenever their content has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path

from modelhost.config.watching import settled_contents
from modelhost.errors import ConfigError
from modelhost.tools.servers_file import ToolServers, digest_of, parse_servers, read_servers


async def watch_servers(
    path: Path, environ: Mapping[str, str], *, seen: str | None, again: asyncio.Event | None = None
) -> AsyncGenerator[ToolServers | ConfigError, None]:
    """Yield the servers, or why the file cannot be used, each time the content has changed.

    ``seen`` is the digest of the content that is in force (:attr:`ToolServers.digest`); ``again``, when it is set, has
    the file read at once. The file may be replaced by
    rename or be missing for a time. Endless; close it with ``aclosing``.
    """
    async with aclosing(settled_contents(path, again=again)) as contents:
        async for content in contents:
            digest = "" if content is None else await asyncio.to_thread(digest_of, content, path)
            if digest != seen:
                seen = digest
                yield await asyncio.to_thread(_read_again, content, path, environ)


def _read_again(content: bytes | None, path: Path, environ: Mapping[str, str]) -> ToolServers | ConfigError:
    try:
        return read_servers(path, environ) if content is None else parse_servers(content, path, environ)
    except ConfigError as error:
        return error
