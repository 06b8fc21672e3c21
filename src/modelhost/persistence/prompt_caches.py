"""Prompt caches of conversations, saved as files beside the database.

One that is missing, damaged or of another model is skipped with a warning, and computed again by the engine.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from modelhost.config.directories import make_private
from modelhost.errors import ModelhostError, ModelNotFound
from modelhost.logs import get_logger
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.state.documents import SavedConversation, SavedPromptCache

log = get_logger(__name__)

FOLDER: Final = "prompt-caches"
SUFFIX: Final = ".cache"
SLOTS_OF_UNKNOWN: Final = 1


class PromptCaches:
    """The prompt caches in one folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    async def save(
        self, collection: ModelCollection, conversations: Sequence[SavedConversation]
    ) -> tuple[SavedPromptCache, ...]:
        """Save the caches of ``conversations``, the newest first, from idle slots of loaded models.

        Only as many conversations of a model are tried as it has slots, since it holds no others.
        """
        saved: list[SavedPromptCache] = []
        tried: Counter[str] = Counter()
        for conversation in conversations:
            model = _loaded(collection, conversation.model)
            if model is None or tried[model.name] >= (model.slots or SLOTS_OF_UNKNOWN):
                continue
            tried[model.name] += 1
            if found := await self._save_one(collection, model, conversation):
                saved.append(found)
        return tuple(saved)

    async def _save_one(
        self, collection: ModelCollection, model: HostedModel, conversation: SavedConversation
    ) -> SavedPromptCache | None:
        path = self._folder / f"{secrets.token_hex(12)}{SUFFIX}"
        try:
            await asyncio.to_thread(_make_folder, self._folder)
            cache = await collection.prompt_caches.save(model, conversation.messages, path)
            if cache is None:
                return None
            digest = await asyncio.to_thread(_sha256, path)
        except (ModelhostError, OSError) as error:
            log.warning("prompt_cache_not_saved", model=model.name, error=str(error))
            await self.remove([path.name])
            return None
        return SavedPromptCache(
            session_id=conversation.session_id,
            model=model.name,
            file=path.name,
            size_bytes=cache.size_bytes,
            sha256=digest,
            fingerprint=cache.fingerprint,
        )

    async def restore(self, collection: ModelCollection, model: HostedModel, caches: Iterable[SavedPromptCache]) -> int:
        """Restore ``caches`` into ``model``, which is loaded; return how many were accepted."""
        restored = 0
        for cache in caches:
            path = self._folder / Path(cache.file).name
            try:
                is_whole = await asyncio.to_thread(_sha256, path) == cache.sha256
                if is_whole and await collection.prompt_caches.restore(model, path, cache.fingerprint):
                    restored += 1
                    continue
                reason = "it does not fit the model" if is_whole else "the file is damaged"
            except (ModelhostError, OSError) as error:
                reason = str(error)
            log.warning("prompt_cache_not_restored", model=model.name, file=cache.file, reason=reason)
        return restored

    async def remove(self, files: Iterable[str]) -> None:
        """Delete ``files`` that exist."""
        await asyncio.to_thread(self._remove, [Path(name).name for name in files])

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(OSError):
                (self._folder / name).unlink()


def _loaded(collection: ModelCollection, name: str | None) -> HostedModel | None:
    if name is None:
        return None
    try:
        model = collection.find(name)
    except ModelNotFound:
        return None
    return model if model.worker is not None else None


def _make_folder(folder: Path) -> None:
    """Make the folder private: it holds contents of conversations."""
    make_private(folder)
    folder.chmod(0o700)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
