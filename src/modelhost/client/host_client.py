"""A host as its clients see it, whether it is in this process or reached over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from modelhost.client.media import Picture, Transcript
from modelhost.exchange.caller import NOBODY, Caller
from modelhost.exchange.events import Pieces
from modelhost.operations.operation import OnProgress, Operation, P, R, ignore_progress

if TYPE_CHECKING:
    from modelhost.operations.perform import OperationCall

Body = Mapping[str, Any]
"""A chat request in OpenAI's format, without ``stream``."""


class HostClient(Protocol):
    """Runs operations and chats. All methods raise the :class:`ModelhostError` of the host, or HostUnreachable."""

    async def models(self) -> Sequence[str]:
        """Return the names of the models, the active one first."""

    async def run(self, operation: Operation[P, R], parameters: P, on_progress: OnProgress = ignore_progress) -> R:
        """Run an operation; ``on_progress`` gets the progress of one that reports it."""

    def chat(self, body: Body, caller: Caller = NOBODY) -> AbstractAsyncContextManager[Pieces]:
        """Answer a chat piece by piece; leaving the context cancels the generation.

        Raises:
            ModelhostError: on entering, or out of the iterator in the middle of the answer.
        """

    async def complete(self, body: Body) -> Mapping[str, Any]:
        """Return the complete answer to a chat, as an object of OpenAI's API."""

    async def request_defaults(self, model: str | None) -> Mapping[str, Any]:
        """Return the request defaults of ``model`` (without a name, of the active one); raises ModelNotFound."""

    def performing(self, call: OperationCall) -> AbstractAsyncContextManager[None]:
        """Run what is inside as one ``call``: timed and, with a host in this process, authorised and recorded.

        Raises:
            ModelhostError: the caller is not authorised.
        """


class SoundClient(HostClient, Protocol):
    """Speaks, transcribes and makes images, too."""

    def speak(self, body: Body) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
        """Speak a text and yield the audio as it is made; leaving the context ends the work.

        ``body`` is a request of ``/v1/audio/speech``, without ``stream_format``.

        Raises:
            ModelhostError: on entering, or out of the iterator in the middle of the audio.
        """

    async def transcribe(
        self, file: bytes, fields: Mapping[str, str], on_progress: OnProgress = ignore_progress
    ) -> Transcript:
        """Return the transcript of a sound file; cancelling ends the work.

        ``fields`` are those of the form of ``/v1/audio/transcriptions``, without formats. ``on_progress`` gets the
        part of the sound that is transcribed.
        """

    async def paint(self, body: Body, on_progress: OnProgress = ignore_progress) -> Sequence[Picture]:
        """Return images; cancelling ends the work within a step.

        ``body`` is a request of ``/v1/images/generations``, or of ``/v1/images/edits`` if it has an ``image``, in
        base64; without ``stream`` and ``response_format``. ``on_progress`` gets each step.
        """
