"""Watches a file and yields its content after each change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from modelhost import lazy
from modelhost.config.document import read_content

SETTLE_SECONDS: Final = 0.1  # an editor that writes in two steps has finished by then
DEBOUNCE_MS: Final = 500
RECHECK_MS: Final = 5000
"""For file systems that report no changes, such as network shares and folders mounted into a container."""
MAX_LINKS: Final = 40  # as the kernel follows at most


async def watch_contents(path: Path, *, again: asyncio.Event | None = None) -> AsyncGenerator[bytes | None, None]:
    """Yield the content of the file at ``path`` (``None``: it does not exist) now, and whenever it may have changed.

    The content may be the same as before, and was stable for a moment. The file may be replaced by rename, missing for
    a time, or a link that changes its target. Setting ``again`` yields at once. Endless; close it with ``aclosing``.
    """
    while True:
        watched = await asyncio.to_thread(_directories, path)
        if again is not None:
            again.clear()
        async with aclosing(_contents(path, watched, again)) as contents:
            async for content in contents:
                yield content
                if await asyncio.to_thread(_directories, path) != watched:
                    break


async def _contents(
    path: Path, directories: frozenset[Path], again: asyncio.Event | None
) -> AsyncGenerator[bytes | None, None]:
    yield await _settled(path)
    changes = lazy.watchfiles.awatch(
        *directories,
        watch_filter=None,
        recursive=False,
        debounce=DEBOUNCE_MS,
        rust_timeout=RECHECK_MS,
        yield_on_timeout=True,
        stop_event=again,
        ignore_permission_denied=True,
    )
    async with aclosing(changes):
        async for _ in changes:
            yield await _settled(path)


async def _settled(path: Path) -> bytes | None:
    """Return the content once it is stable for a moment, in case the file is half-written."""
    content = await asyncio.to_thread(_content, path)
    while True:
        await asyncio.sleep(SETTLE_SECONDS)
        again = await asyncio.to_thread(_content, path)
        if again == content:
            return content
        content = again


def _content(path: Path) -> bytes | None:
    try:
        return read_content(path)
    except ValueError:
        return None  # its reader reports why


def _directories(path: Path) -> frozenset[Path]:
    """Return the directories to watch: those of the file, and of everything that it links to."""
    found = set()
    link = path.absolute()
    for _ in range(MAX_LINKS):
        found.add(_existing(link.parent))
        if not link.is_symlink():
            break
        link = link.parent / link.readlink()
    found.add(_existing(path.resolve().parent))
    return frozenset(found)


def _existing(directory: Path) -> Path:
    """Return ``directory``, or its nearest existing parent."""
    return next(each for each in (directory, *directory.parents) if each.is_dir())
