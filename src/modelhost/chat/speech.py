"""Speaks texts, with the models that speak."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from modelhost.chat.media.jobs import answered_job
from modelhost.chat.turn import adapted
from modelhost.errors import InvalidRequest, NothingToSpeak, UnsupportedOperation
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.requests import SpeechRequest
from modelhost.exchange.tasks import Task
from modelhost.models.residency.collection import ModelCollection
from modelhost.models.residency.hosted import HostedModel
from modelhost.models.residency.lease import OnQueued
from modelhost.workers.call_depth import CALL_DEPTH
from modelhost.workers.worker import Worker, WorkerAnswer

INSTALL: Final[Mapping[Task, str]] = {
    "speech": "modelhost engines install speech --voice hibari",
    "transcription": "modelhost engines install whisper",
    "images": "modelhost engines install diffusers",
    "image_edits": "modelhost engines install diffusers",
}
"""What installs an engine for a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """Audio that is being made."""

    model: str
    content_type: str
    parts: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """The voices of a model."""

    model: str
    names: tuple[str, ...]


class Speaking:
    """Answers requests for speech with the models of a host."""

    def __init__(self, collection: Callable[[], ModelCollection]) -> None:
        self._collection = collection

    def open(
        self, request: SpeechRequest, caller: Caller = NOBODY, on_queued: OnQueued | None = None
    ) -> AbstractAsyncContextManager[Spoken]:
        """Speak the input of ``request``; leaving the context ends the work within a sentence.

        Raises:
            NothingToSpeak: the input has neither letters nor digits, or none that the voice knows.
            UnsupportedOperation: the model does not speak.
            ModelhostError: before the first audio, or in the middle of it.
        """
        if not any(character.isalnum() for character in request.input):
            raise NothingToSpeak(
                "input: it has neither letters nor digits, so there is nothing to speak.", param="input"
            )
        return self._opened(request, caller, on_queued)

    async def voices(self, model: str | None, on_queued: OnQueued | None = None) -> Voices:
        """Return the voices of ``model``, which is loaded if it is not; raises as :meth:`open` does."""
        found = await capable_model(self._collection(), "speech", model)
        if found.worker is not None:
            return Voices(model=found.name, names=found.worker.ready.voices)
        async with self._collection().lease(found, on_queued) as worker:
            return Voices(model=found.name, names=worker.ready.voices)

    @asynccontextmanager
    async def _opened(
        self, request: SpeechRequest, caller: Caller, on_queued: OnQueued | None
    ) -> AsyncIterator[Spoken]:
        CALL_DEPTH.set(caller.depth)
        model = await capable_model(self._collection(), "speech", request.model)
        request = replace(request, model=model.name)
        body = adapted(model, "speech", request)

        def check(worker: Worker) -> None:
            _check_voice(request, worker.ready.voices)

        async with answered_job(self._collection(), model, "speech", body, on_queued, check) as (_, answer):
            yield Spoken(model=model.name, content_type=answer.content_type, parts=_parts_of(answer))


async def capable_model(collection: ModelCollection, task: Task, name: str | None) -> HostedModel:
    """Return the model called ``name``; without a name, the active one if it can do ``task``, else the first that can.

    Before any is refused, the files of those that are not loaded are inspected: some models are known by them alone.

    Raises:
        ModelNotFound: there is none of that name.
        UnsupportedOperation: it cannot do ``task``, or none can.
    """
    found = None if name is None else collection.find(name)
    if not any(model.can_do(task) for model in (collection.models if found is None else [found])):
        await collection.refresh_previews(is_patient=True)
    able = [model for model in collection.models if model.can_do(task)]
    if found is None:
        if able:
            return able[0]
        raise UnsupportedOperation(f"No model of this host can do {task}. {_beside(task)}")
    if not found.can_do(task):
        raise UnsupportedOperation(f"{found.name} cannot do {task}. {_ways(able, task)}", model=found.name)
    return found


def _check_voice(request: SpeechRequest, voices: tuple[str, ...]) -> None:
    if request.voice is not None and request.voice not in voices:
        raise InvalidRequest(f'voice: there is no "{request.voice}"; there are {", ".join(voices)}.', param="voice")


def _ways(able: list[HostedModel], task: Task) -> str:
    if able:
        return f"Models that can: {', '.join(model.name for model in able)}."
    return f"No other model of this host can. {_beside(task)}"


def _beside(task: Task) -> str:
    return f"Serve a model that can beside; if its engine is not installed: {INSTALL[task]}."


async def _parts_of(answer: WorkerAnswer) -> AsyncIterator[bytes]:
    while part := await answer.read():
        yield part
