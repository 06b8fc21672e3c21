"""What answers the calls of an MCP server in tests: results as given, and a chat that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from modelhost.chat.parsing.image_form import json_request
from modelhost.chat.parsing.parse import parsed
from modelhost.chat.parsing.transcription_form import parsed_form
from modelhost.client.host_client import Body, OnPicture, Picture, Transcript, ignore_picture
from modelhost.errors import ModelhostError, ModelNotFound
from modelhost.exchange.audio_files import check_may_be_sound
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.chunk_reading import ChunkReader
from modelhost.exchange.events import Pieces
from modelhost.operations.operation import AnyOperation, OnProgress, Parameters, Progress, ignore_progress
from modelhost.operations.perform import OperationCall

Chunk = dict[str, Any]


def piece(text: str | None = None, finish_reason: str | None = None, **more: Any) -> Chunk:
    """A chunk of a streamed answer."""
    delta = {} if text is None else {"content": text}
    return {"model": "one", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}


class FakeBackend:
    """Answers each operation with its example, unless ``results`` says otherwise."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.progress: Sequence[Progress] = ()
        """What each operation tells before its result."""
        self.ran: list[tuple[str, Parameters]] = []
        self.calls: list[OperationCall] = []
        self.bodies: list[dict[str, Any]] = []
        self.depths: list[int] = []
        self.chunks: Sequence[Chunk | ModelhostError] = (piece("Hel"), piece("lo."), piece(finish_reason="stop"))
        self.audio: Sequence[bytes | ModelhostError] = (b"one ", b"two")
        self.transcript = Transcript(
            text="one two", language="en", seconds=2.0, segments=({"start": 0.0, "end": 2.0, "text": " one two"},)
        )
        self.pictures: Sequence[Picture] = (Picture(data=b"one", seed=7),)
        self.defaults: Mapping[str, Any] = {}
        self.holds = False
        """Say nothing more after the first chunk, until somebody cancels."""
        self.was_asked = asyncio.Event()
        self.was_left = asyncio.Event()

    async def run(
        self, operation: AnyOperation, parameters: Parameters, on_progress: OnProgress = ignore_progress
    ) -> Any:
        self.ran.append((operation.name, parameters))
        for progress in self.progress:
            on_progress(progress)
        result = self.results.get(operation.name, operation.example_answer)
        if isinstance(result, Callable):  # type: ignore[arg-type]
            result = result(parameters)
        if isinstance(result, BaseException):
            raise result
        return operation.result.model_validate(result)

    @asynccontextmanager
    async def chat(self, body: Body, caller: Caller = NOBODY) -> AsyncIterator[Pieces]:
        parsed("chat", body)  # raises as a host would
        self.bodies.append({**body, "stream": True})
        self.depths.append(caller.depth)
        self.was_asked.set()

        async def pieces() -> Pieces:
            reader = ChunkReader()
            for chunk in self.chunks:
                if isinstance(chunk, ModelhostError):
                    raise chunk
                yield reader.read(chunk)
                if self.holds:
                    await asyncio.Event().wait()

        try:
            yield pieces()
        finally:
            self.was_left.set()

    @asynccontextmanager
    async def speak(self, body: Body) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        parsed("speech", body)
        self.bodies.append(dict(body))

        async def parts() -> AsyncGenerator[bytes, None]:
            for part in self.audio:
                if isinstance(part, ModelhostError):
                    raise part
                yield part
                if self.holds:
                    self.was_asked.set()
                    await asyncio.Event().wait()

        try:
            async with aclosing(parts()) as made:
                yield made
        finally:
            self.was_left.set()

    async def transcribe(
        self, file: bytes, fields: Mapping[str, str], on_progress: OnProgress = ignore_progress
    ) -> Transcript:
        parsed_form({name: (value,) for name, value in fields.items()})
        check_may_be_sound(file)
        self.bodies.append({"file": file, **fields})
        for progress in self.progress:
            on_progress(progress)
        return self.transcript

    async def paint(
        self, body: Body, on_progress: OnProgress = ignore_progress, on_picture: OnPicture = ignore_picture
    ) -> Sequence[Picture]:
        json_request({name: value for name, value in body.items() if name != "model"})
        self.bodies.append(dict(body))
        for progress in self.progress:
            on_progress(progress)
        for picture in self.pictures:
            on_picture(picture)
        return self.pictures

    async def models(self) -> Sequence[str]:
        return ["one"]

    async def complete(self, body: Body) -> Mapping[str, Any]:
        raise NotImplementedError

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        if model == "none":
            raise ModelNotFound('There is no model "none" here.')
        return self.defaults

    @asynccontextmanager
    async def performing(self, call: OperationCall) -> AsyncIterator[None]:
        self.calls.append(call)
        with call:
            yield
