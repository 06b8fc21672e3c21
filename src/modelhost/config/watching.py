"""Watches a file, and gives its content whenever that has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import awatch

from modelhost.config.document import read_content

SETTLE_SECONDS: Final = 0.1  # an editor that writes in two steps is through by then
DEBOUNCE_MS: Final = 500
RECHECK_MS: Final = 5000
"""Some file systems (network shares, folders mounted into a container) report no changes: the file is read anyway."""
MAX_LINKS: Final = 40  # as the kernel follows at most


async def watch_contents(path: Path, *, again: asyncio.Event | None = None) -> AsyncGenerator[bytes | None, None]:
    """Yield the content of the file at ``path`` (``None``: there is none) now, and whenever it may have changed.

    It may be the same as before. The file may be replaced by rename, be missing for a time, or be a link that is turned
    elsewhere; what is yielded was the same for a moment. When ``again`` is set, it is yielded at once. Endless; close
    it with ``aclosing``.
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
    changes = awatch(
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
    """Return the content once it stays the same for a moment: a file may be caught half-written."""
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
        return None  # whoever reads it says why


def _directories(path: Path) -> frozenset[Path]:
    """Return the directories in which a change may change the content: of the file, and of all that it links to."""
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
    """Return ``directory``, or the nearest one above it that is there."""
    return next(each for each in (directory, *directory.parents) if each.is_dir())
