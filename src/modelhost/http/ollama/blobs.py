"""``HEAD`` and ``POST /api/blobs/DIGEST``: files of models that are to be created."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from modelhost.errors import NotFound
from modelhost.http.endpoint import Endpoint, operator_of
from modelhost.http.exchange import Exchange
from modelhost.http.ollama.answering_endpoint import FORMAT
from modelhost.models.files.blobs import BYTES_PER_GB, Upload
from modelhost.operations.perform import OperationCall, performing

if TYPE_CHECKING:
    from modelhost.host import Host

OPERATION: Final = "upload-blob"
"""In the audit log."""
CHUNK_BYTES: Final = 1 << 22
"""As much as is written at once, in a thread."""


class BlobEndpoint(Endpoint):
    """Says whether a file is here, or stores it as it arrives."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "ollama_blobs", FORMAT)

    async def work(self, exchange: Exchange, scope: Scope) -> None:
        digest: str = scope["path_params"]["digest"]
        if scope["method"] != "POST":  # HEAD, which arrives as GET
            if not await asyncio.to_thread(self.host.created.store.blobs.has, digest):
                raise NotFound(f"There is no file {digest} here: upload it with POST.")
            await exchange.answer(200, b"", [(b"content-length", b"0")])
            return
        call = OperationCall(operation=OPERATION, caller=operator_of(scope), kept=dict, values={"digest": digest})
        with performing(self.host, call):
            await self._store(digest, exchange)
        await exchange.answer(201, b"", [(b"content-length", b"0")])

    async def _store(self, digest: str, exchange: Exchange) -> None:
        created = self.host.created
        created.check_changes(digest)
        await asyncio.to_thread(created.prune)
        limit_bytes = int(self.host.settings.max_blob_gb * BYTES_PER_GB)
        upload = created.store.blobs.upload(digest, limit_bytes=limit_bytes, expected_bytes=exchange.declared_length)
        with ExitStack() as opened:
            await asyncio.to_thread(opened.enter_context, upload)
            await _write(exchange, upload)
            await asyncio.to_thread(upload.publish)


async def _write(exchange: Exchange, upload: Upload) -> None:
    """Write the body of a request as it arrives."""
    parts: list[bytes] = []
    async with aclosing(exchange.body_parts()) as body:
        async for part in body:
            parts.append(part)
            if sum(map(len, parts)) >= CHUNK_BYTES:
                await asyncio.to_thread(upload.write, b"".join(parts))
                parts.clear()
    await asyncio.to_thread(upload.write, b"".join(parts))
