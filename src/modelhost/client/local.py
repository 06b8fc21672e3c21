"""The client of a host in this process."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from modelhost import lazy
from modelhost.client.host_client import (
    Body,
    OnPicture,
    Picture,
    Transcript,
    ignore_picture,
    progress_at,
    progress_of,
)
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces, Relayed
from modelhost.exchange.images import FinishedImage, ImageStep
from modelhost.exchange.requests import ChatRequest, SpeechRequest
from modelhost.monitor.measure import recording
from modelhost.operations.llm import CHAT
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.operations.perform import OperationCall, perform, performing

if TYPE_CHECKING:
    from modelhost.host import Host


class LocalClient:
    """The :class:`~modelhost.client.host_client.HostClient` of ``host``; raises its errors."""

    def __init__(self, host: Host, caller: Caller | None = None) -> None:
        """Take the host and the caller; ``None``: operations are parts of calls that are authorised as a whole."""
        self.host = host
        self._caller = caller

    async def models(self) -> Sequence[str]:
        return [name for model in self.host.models for name in (model.name, *model.names_with_adapters)]

    async def run(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        if self._caller is None:
            return await operation.run(self.host, parameters, on_progress)
        return await perform(self.host, operation, parameters, self._caller, on_progress)

    @asynccontextmanager
    async def chat(self, body: Body, caller: Caller = NOBODY) -> AsyncIterator[Pieces]:
        request = lazy.chat_parse.parsed("chat", body)
        assert isinstance(request, ChatRequest)
        async with self.host.open(request, caller) as answer:
            assert not isinstance(answer, Relayed)
            yield answer

    async def complete(self, body: Body) -> Mapping[str, Any]:
        return await self.host.call("chat", dict(body))

    @asynccontextmanager
    async def speak(self, body: Body) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        request = lazy.chat_parse.parsed("speech", body)
        assert isinstance(request, SpeechRequest)
        async with self.host.open_speech(request) as spoken, aclosing(_each(spoken.parts)) as parts:
            yield parts

    async def transcribe(
        self, file: bytes, fields: Mapping[str, str], on_progress: OnProgress = ignore_progress
    ) -> Transcript:
        form = lazy.transcription_form.parsed_form({name: (value,) for name, value in fields.items()})
        segments: list[Mapping[str, Any]] = []
        async with self.host.open_transcript(form.request(file)) as heard:
            async for segment in heard.segments:
                segments.append({name: segment[name] for name in ("start", "end", "text")})
                on_progress(progress_at(segment["end"], heard.seconds))
        text = "".join(segment["text"] for segment in segments).strip()
        return Transcript(text=text, language=heard.language, seconds=heard.seconds, segments=tuple(segments))

    async def paint(
        self, body: Body, on_progress: OnProgress = ignore_progress, on_picture: OnPicture = ignore_picture
    ) -> Sequence[Picture]:
        request = lazy.image_form.json_request(body)
        pictures: list[Picture] = []
        async with self.host.open_images(request) as painted:
            async for event in painted.events:
                if isinstance(event, ImageStep):
                    on_progress(progress_of(event.index, event.step, event.steps, body))
                elif isinstance(event, FinishedImage):
                    pictures.append(Picture(data=base64.b64decode(event.base64), seed=event.seed))
                    on_picture(pictures[-1])
        return pictures

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        return self.host.find(model).defaults

    @asynccontextmanager
    async def performing(self, call: OperationCall) -> AsyncIterator[None]:
        with performing(self.host, call), self._recorded(call):
            yield

    def _recorded(self, call: OperationCall) -> AbstractContextManager[None]:
        """Return what records a call as a request for a model, if it is one, also if it is refused."""
        if call.operation != CHAT:
            return nullcontext()
        return recording(self.host.monitor, lambda: self.host.model_label(call.named_model))


async def _each(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async for part in parts:
        yield part
