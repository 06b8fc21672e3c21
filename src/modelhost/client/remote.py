"""The :class:`~modelhost.client.host_client.HostClient` of a running host, over its HTTP API.

Every call is a separate request, so a host may be restarted between them.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import ValidationError

from modelhost import json_text
from modelhost.client.connections import NO_HEADERS, Connections, Event, EventReader, error_in
from modelhost.client.host_client import (
    Body,
    OnPicture,
    Picture,
    Transcript,
    form_of,
    ignore_picture,
    progress_at,
    progress_of,
)
from modelhost.errors import HostUnreachable, MethodNotAllowed, NotFound
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.chunk_reading import ChunkReader, MalformedChunkError
from modelhost.exchange.events import Pieces, PieceStream
from modelhost.operations.models import INFO, OneModel
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress
from modelhost.operations.remote_calls import EVENT_STREAM, PROGRESS, RESULT, progress_in, request_of, result_in
from modelhost.operations.reports import EventReport
from modelhost.workers.call_depth import DEPTH_HEADER
from modelhost.workers.connection import ConnectionBroken
from modelhost.workers.remote.connection import KeepAliveConnection

if TYPE_CHECKING:  # a command does without its metrics, which take their time to import
    from modelhost.operations.perform import OperationCall

CHAT_PATH: Final = "/v1/chat/completions"
EVENTS_PATH: Final = "/v1/models/events"
MODELS_PATH: Final = "/v1/models"
SPEECH_PATH: Final = "/v1/audio/speech"
TRANSCRIPTIONS_PATH: Final = "/v1/audio/transcriptions"
GENERATIONS_PATH: Final = "/v1/images/generations"
EDITS_PATH: Final = "/v1/images/edits"
DONE: Final = b"[DONE]"
PROBE_SECONDS: Final = 1.0  # a host on this machine answers in milliseconds; without one the port refuses at once
CACHE_SECONDS: Final = 1.0
"""How long request defaults are cached: they are read before each chat, and hardly ever change."""
CHAT_EVENTS: Final = frozenset({"", "message", "error"})
"""Names of events of an answer; others are extensions."""


class RemoteClient:
    """A client of the host at ``url`` (with a scheme, without ``/v1``); as a context it keeps connections alive."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        """Take the URL and the API key of the host; raises ConfigError if one of them is invalid."""
        self.url = url
        self._connections = Connections(url, api_key)
        self._defaults: dict[str | None, tuple[float, Mapping[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        self._connections.keeps = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._connections.close()

    async def is_modelhost(self) -> bool:
        """Return whether a modelhost answers there within :data:`PROBE_SECONDS`."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                version = await self._json("GET", "/version")
        except (HostUnreachable, TimeoutError):
            return False
        return isinstance(version, dict) and version.get("name") == "modelhost"

    async def has_path(self, path: str) -> bool:
        """Return whether there is an endpoint at ``path``, for any method; raises HostUnreachable."""
        try:
            async with self._connections.answer("GET", path):
                return True
        except MethodNotAllowed:
            return True
        except NotFound:
            return False

    async def models(self) -> Sequence[str]:
        listed = await self._json("GET", MODELS_PATH)
        try:
            return [str(model["id"]) for model in listed["data"]]
        except (KeyError, TypeError) as error:
            raise HostUnreachable(f"{self.url} lists no models; is it a modelhost?") from error

    async def run(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        method, path, body = request_of(operation, parameters)
        if not operation.is_read_only:
            self._defaults.clear()
        headers = (
            {"Accept": EVENT_STREAM}
            if operation.reports_progress and on_progress is not ignore_progress
            else NO_HEADERS
        )
        async with self._connections.answer(method, path, body, headers) as answer:
            if answer.content_type.startswith(EVENT_STREAM):
                return result_in(operation, await self._streamed_result(answer, on_progress), self.url)
            return result_in(operation, await self._whole(answer), self.url)

    async def _streamed_result(self, answer: KeepAliveConnection, on_progress: OnProgress) -> Any:
        """Return the result of an operation that streams its progress; an error among the events is raised."""
        async with aclosing(_events(answer)) as events:
            async for event in events:
                data = self._decoded(event)
                if event.name == RESULT:
                    return data
                if event.name == PROGRESS:
                    on_progress(progress_in(data))
        raise HostUnreachable(f"the host at {self.url} disconnected before the operation was complete; try again")

    @asynccontextmanager
    async def chat(self, body: Body, caller: Caller = NOBODY) -> AsyncIterator[Pieces]:
        headers = {DEPTH_HEADER: str(caller.depth)} if caller.depth else NO_HEADERS
        async with (
            self._connections.answer("POST", CHAT_PATH, {**body, "stream": True}, headers) as answer,
            aclosing(self._pieces(answer)) as pieces,
        ):
            yield pieces

    async def _pieces(self, answer: KeepAliveConnection) -> PieceStream:
        reader, has_ended = ChunkReader(), False
        async with aclosing(_events(answer)) as events:
            async for event in events:
                if event.data.strip() == DONE:
                    has_ended = True  # and the connection can be kept, once the rest has come
                elif event.name in CHAT_EVENTS:
                    try:
                        yield reader.read(self._decoded(event))
                    except MalformedChunkError:
                        raise self._unexpected("an answer") from None
        if not has_ended:
            raise HostUnreachable(f"the host at {self.url} went away in the middle of the answer")

    async def complete(self, body: Body) -> Mapping[str, Any]:
        completion: Mapping[str, Any] = await self._json("POST", CHAT_PATH, body)
        return completion

    @asynccontextmanager
    async def speak(self, body: Body) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        async with (
            self._events("POST", SPEECH_PATH, {**body, "stream_format": "sse"}) as events,
            aclosing(self._audio(events)) as parts,
        ):
            yield parts

    async def _audio(self, events: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
        async for event in events:
            data = self._decoded(event)
            if data.get("type") == "speech.audio.done":
                return
            try:
                part = base64.b64decode(data["audio"])
            except (KeyError, TypeError, ValueError):
                raise self._unexpected("audio") from None
            yield part
        raise HostUnreachable(f"the host at {self.url} went away in the middle of the audio")

    async def transcribe(
        self, file: bytes, fields: Mapping[str, str], on_progress: OnProgress = ignore_progress
    ) -> Transcript:
        form = form_of(file, {**fields, "stream": "true"})
        segments: list[Mapping[str, Any]] = []
        async with self._events("POST", TRANSCRIPTIONS_PATH, form) as events:
            async for event in events:
                data = self._decoded(event)
                try:
                    if data["type"] == "transcript.text.done":
                        return _transcript(data, segments)
                    segments.append({"start": data["start"], "end": data["end"], "text": data["delta"]})
                    on_progress(progress_at(data["end"], data["duration"]))
                except (KeyError, TypeError):
                    raise self._unexpected("a transcript with times") from None
        raise HostUnreachable(f"the host at {self.url} went away in the middle of the transcript")

    async def paint(
        self, body: Body, on_progress: OnProgress = ignore_progress, on_picture: OnPicture = ignore_picture
    ) -> Sequence[Picture]:
        path = EDITS_PATH if "image" in body else GENERATIONS_PATH
        asked = {**body, "stream": True, "progress": on_progress is not ignore_progress}
        pictures: list[Picture] = []
        async with self._events("POST", path, asked) as events:
            async for event in events:
                data = self._decoded(event)
                try:
                    kind = str(data["type"]).rpartition(".")[2]
                    if kind == "progress":
                        on_progress(progress_of(data["image_index"], data["step"], data["steps"], body))
                    elif kind == "completed":
                        pictures.append(Picture(data=base64.b64decode(data["b64_json"]), seed=data["seed"]))
                except (KeyError, TypeError, ValueError):
                    raise self._unexpected("images") from None
                if kind == "completed":
                    on_picture(pictures[-1])
        if len(pictures) != (body.get("n") or 1):
            raise HostUnreachable(f"the host at {self.url} went away before all images were there")
        return pictures

    async def model_events(self) -> AsyncGenerator[EventReport, None]:
        """Yield the state of each model, then every change, until the host stops."""
        async with self._events("GET", EVENTS_PATH) as events:
            async for event in events:
                try:
                    yield EventReport.model_validate(self._decoded(event))
                except ValidationError as error:
                    raise self._unexpected("an event") from error

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        """Return the request defaults of ``model``, cached for :data:`CACHE_SECONDS`; raises like :meth:`run`."""
        asked_at, known = self._defaults.get(model, (-CACHE_SECONDS, {}))
        now = time.monotonic()
        if now - asked_at < CACHE_SECONDS:
            return known
        name = model or next(iter(await self.models()), None)
        found = (await self.run(INFO, OneModel(model_id=name))).config.defaults if name else {}
        self._defaults = {model: (now, found)}
        return found

    @asynccontextmanager
    async def performing(self, call: OperationCall) -> AsyncIterator[None]:
        """Time a call; the host authorises and records the requests in it."""
        with call:
            yield

    @asynccontextmanager
    async def _events(self, method: str, path: str, body: Any = None) -> AsyncIterator[AsyncIterator[Event]]:
        async with self._connections.answer(method, path, body) as answer, aclosing(_events(answer)) as events:
            yield events

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        async with self._connections.answer(method, path, body) as answer:
            return await self._whole(answer)

    async def _whole(self, answer: KeepAliveConnection) -> Any:
        try:
            return json_text.decode(await answer.read_all())
        except (ValueError, ConnectionBroken) as error:
            raise HostUnreachable(f"{self.url} did not send whole JSON; is it a modelhost?") from error

    def _decoded(self, event: Event) -> Mapping[str, Any]:
        """Return the JSON object in an event; an error object is raised."""
        try:
            data = json_text.decode(event.data)
        except ValueError:
            data = None
        if error := error_in(data):
            raise error
        if not isinstance(data, dict):
            raise self._unexpected("an answer")
        return data

    def _unexpected(self, expected: str) -> HostUnreachable:
        return HostUnreachable(f"{self.url} sent something else than {expected}; is it a modelhost?")


async def _events(answer: KeepAliveConnection) -> AsyncGenerator[Event, None]:
    """Yield the events of a streamed answer until it ends or breaks off."""
    reader = EventReader()
    with suppress(ConnectionBroken):
        while block := await answer.read():
            for event in reader.read(block):
                yield event


def _transcript(done: Mapping[str, Any], segments: Sequence[Mapping[str, Any]]) -> Transcript:
    return Transcript(
        text=done["text"], language=done["language"], seconds=done["usage"]["seconds"], segments=tuple(segments)
    )
