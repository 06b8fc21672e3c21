"""Prompt caches in files: what a worker has evaluated of a conversation, so that the next worker need not do it again.

A file can be read back by a worker of the same model with the same context, cache type and engine; its fingerprint says
which that is, and that the content is what was written. Nothing else is ever given to a worker: a damaged file would
end it. Files hold the conversation and are readable by this user alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from modelhost.config.directories import make_private
from modelhost.errors import ModelhostError
from modelhost.logs import get_logger
from modelhost.models.files.model_files import part_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from modelhost.engines.launch import ModelSpec
    from modelhost.models.residency.hosted import HostedModel
    from modelhost.models.residency.scheduler import Scheduler
    from modelhost.workers.worker import Worker

log = get_logger(__name__)

SECONDS = 30.0
"""For one file at most; it is only a cache."""
SAMPLES, SAMPLE_BYTES = 16, 65_536
"""How much of a model's file is looked at to know it again, at even distances."""
BLOCK_BYTES = 1 << 20
FINGERPRINT_LETTERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCache:
    """A prompt cache that was written to a file."""

    size_bytes: int
    fingerprint: str
    """To be given when it is restored: of the model as it ran, and of the file's content."""
    tokens: int


class PromptCaches:
    """Saves and restores the prompt caches of a host's models.

    One file after the other: two at once would push each other out of the slots.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._in_turn = asyncio.Lock()

    async def save(self, model: HostedModel, messages: Sequence[Mapping[str, Any]], path: Path) -> SavedCache | None:
        """Write what the engine has evaluated of a conversation to ``path``, as :func:`save`.

        ``None`` if the model is not loaded, does not hold the conversation or has it at work; nothing is waited for.
        """
        async with self._in_turn:
            with self._scheduler.lease_if_ready(model) as worker:
                if worker is None or model.spec is None:
                    return None
                return await save(worker, model.spec, messages, path)

    async def restore(self, model: HostedModel, path: Path, fingerprint: str) -> bool:
        """Have the engine hold the conversation in the file at ``path``, as :func:`restore`.

        Returns whether it does. It does not if the model is not loaded, or ``fingerprint`` is of another one.
        """
        async with self._in_turn:
            with self._scheduler.lease_if_ready(model) as worker:
                if worker is None or model.spec is None:
                    return False
                return await restore(worker, model.spec, path, fingerprint)


async def save(worker: Worker, spec: ModelSpec, messages: Sequence[Mapping[str, Any]], path: Path) -> SavedCache | None:
    """Write what ``worker`` holds of the conversation of ``messages`` to ``path``, all at once or not at all.

    ``None``: it does not hold it, holds it for a request at work, has no such caches, or the file could not be written.
    """
    caches, folder = worker.engine.prompt_caches, worker.ready.cache_folder
    if caches is None or folder is None or not messages:
        return None
    passed = Path(folder) / _file_name()
    try:
        async with asyncio.timeout(SECONDS):
            tokens = await caches.save(worker, messages, passed.name)
            if not tokens:
                return None
            model = await asyncio.to_thread(_model_fingerprint, worker, spec)
            size_bytes, content = await asyncio.to_thread(_keep, passed, path)
    except (ModelhostError, OSError) as error:  # TimeoutError is one
        log.warning("prompt_cache_not_saved", model=worker.model, error=str(error) or "it took too long")
        return None
    finally:
        await asyncio.to_thread(passed.unlink, missing_ok=True)
    return SavedCache(size_bytes=size_bytes, fingerprint=f"{model}-{content}", tokens=tokens)


async def restore(worker: Worker, spec: ModelSpec, path: Path, fingerprint: str) -> bool:
    """Have ``worker`` hold the conversation in the file at ``path``; nothing at work is disturbed.

    Returns whether it does. It does not with another ``fingerprint``, without the file, without an idle place for it.
    """
    caches, folder = worker.engine.prompt_caches, worker.ready.cache_folder
    if caches is None or folder is None:
        return False
    passed = Path(folder) / _file_name()
    try:
        async with asyncio.timeout(SECONDS):
            model = await asyncio.to_thread(_model_fingerprint, worker, spec)
            if model != fingerprint.partition("-")[0]:
                return False
            # The very bytes that were checked are handed over, whatever happens to the file meanwhile.
            if await asyncio.to_thread(_copy, path, passed) != fingerprint.partition("-")[2]:
                log.warning("prompt_cache_damaged", model=worker.model)
                return False
            return await caches.restore(worker, passed.name)
    except (ModelhostError, OSError) as error:
        log.warning("prompt_cache_not_restored", model=worker.model, error=str(error) or "it took too long")
        return False
    finally:
        await asyncio.to_thread(passed.unlink, missing_ok=True)


def _file_name() -> str:
    return f"{os.getpid()}-{secrets.token_hex(8)}.cache"


def _keep(passed: Path, path: Path) -> tuple[int, str]:
    """Move a file of the worker to ``path``, atomically; return its size and the digest of its content."""
    make_private(path.parent)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        content = _copy(passed, partial)
        size_bytes = partial.stat().st_size
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return size_bytes, content


def _copy(source: Path, target: Path) -> str:
    """Copy a file to a new one, which only this user can read; return the digest of its content."""
    digest = hashlib.sha256()
    with source.open("rb") as reading, open(target, "xb", opener=_private) as writing:
        for block in _blocks(reading):
            digest.update(block)
            writing.write(block)
        writing.flush()
        os.fsync(writing.fileno())
    return digest.hexdigest()[:FINGERPRINT_LETTERS]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _model_fingerprint(worker: Worker, spec: ModelSpec) -> str:
    """Return the fingerprint that workers share whose caches are interchangeable."""
    weights = [spec.path.with_name(name) for name in part_names(spec.path.name)] if spec.path else []
    facts = (
        worker.engine.name,
        worker.ready.engine_version,
        worker.ready.context_length,
        spec.kv_cache_type,
        [_identity(path) for path in weights],
        [(_identity(each.path), each.scale) for each in spec.lora if each.name is None],
        *([_identity(spec.mmproj_path)] if spec.mmproj_path else []),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:FINGERPRINT_LETTERS]


def _identity(path: Path) -> str:
    found = path.stat()
    return _sampled(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _sampled(path: Path, size_bytes: int, _changed_at: int) -> str:
    """Return a digest of samples of a large file, which is the same wherever the file is."""
    digest = hashlib.sha256(str(size_bytes).encode())
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(max(0, size_bytes - SAMPLE_BYTES) * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
